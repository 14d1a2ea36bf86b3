import { DiffusionSampler } from '../element/define.ts';

DiffusionSampler.base = new URL('weights/', document.baseURI);
