/** The table of architectures. A new one is a file that exports an `Architecture`, and its line here. */

import type { Architecture } from './architecture.ts';
import type { UNetConfig } from './config.ts';
import { diffusers } from './diffusers.ts';
import { dome272 } from './dome272.ts';

const ARCHITECTURES: Readonly<Record<UNetConfig['architecture'], Architecture>> = { diffusers, dome272 };

export const architectureOf = (config: UNetConfig): Architecture => ARCHITECTURES[config.architecture];
