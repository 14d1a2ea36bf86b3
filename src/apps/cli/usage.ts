/** The help of the command line. docs/cli.md has the same text; tests/cli/usage.test.ts compares them. */

import { VARIANCES } from '../../schedule/context.ts';
import { SIGMA_SPACINGS } from '../../schedule/levels.ts';
import { PREDICTION_TYPES } from '../../schedule/prediction.ts';
import { SCHEDULERS } from '../../schedule/samplers.ts';
import { SPACINGS } from '../../schedule/timesteps.ts';

export const USAGE = `Usage: npm run --silent cli -- COMMAND --model MODEL ...

MODEL: a folder in diffusers layout, huggingface:OWNER/NAME[@REVISION], or an https:// folder.
N, C, H, W: number of images, channels, height, width.

sample    Draws images.
    --output OUT.safetensors     x_0 [N,C,H,W] in [-1, 1]; with --trajectory also x_t [steps+1,N,C,H,W], timesteps [steps]
    --png GRID.png               the images as a grid
    --trajectory                 keeps every state
    --dtype f32|f16              storage of weights and activations; default f32
  What to draw
    --labels 3,7 | --count N     one class an image, or a number of images; default one image
    --seed 0                     image n of a batch is drawn with seed + n
    --guidance 1                 classifier-free guidance w: eps_null + w (eps_class - eps_null); 1 is off
    --guidance-interval FROM,TO  guidance at these timesteps only
    --guidance-rescale 0         0 to 1; rescales the guided output (Lin et al. 2024)
    --interpolate SEED,SEED      x_T of --count images moves from the first seed's to the second's
  How to sample
    --scheduler NAME             default: the scheduler config of the model
    NAME: ${SCHEDULERS.join(' ')}
    --steps 50
    --spacing ${SPACINGS.join('|')}
    --respacing 250|10,15,20|ddim50  instead of --steps: the respacing of guided-diffusion (ddpm, ddim, pndm)
    --timesteps 999,500,1        instead of --steps: the timesteps (ddpm, ddim, pndm)
    --sigmas ${SIGMA_SPACINGS.join('|')}  spacing by noise level (all others)
    --eta 0                      noise of ddim, 0 to 1
    --epsilon clipped|raw        ddim: epsilon from the clipped x0Hat, or the network's own
    --variance ${VARIANCES.join('|')}
                                 ddpm; the last two need a network that learned its variance
    --order 1|2|3, --bh bh1|bh2  unipc
    --churn 0                    edm
    --prediction ${PREDICTION_TYPES.join('|')}
    --clip none|1                clips x0Hat to [-1, 1]
    --threshold 0.995[,MAX]      instead of --clip: dynamic thresholding, a quantile and a maximum
    --compat diffusers|lecture   follows diffusers, or the loop of dome272/Diffusion-Models-pytorch
  What to start from
    --init IMAGE.png             a picture (SDEdit)
    --strength 0.6               the share of the steps to take from --init; with --mask default 1
    --mask MASK.png              inpainting: regenerates the white part of --init
    --jumps LENGTH,SAMPLES       RePaint resampling of ddpm and ddim: jump length, samples a jump
    --noise NOISE.safetensors    x_T [N,C,H,W]; for samplers that add noise also z [steps,N,C,H,W]
    --begin K                    x_T of --noise is the state after K steps
invert    Finds the noise that ddim turns into a picture.
    --init IMAGE.png --output OUT.safetensors [--steps 50] [--labels 7 | --count N] [--spacing ...] [--respacing ...]
    [--prediction ...] [--dtype ...]
                                 OUT: x_T [N,C,H,W], for --noise
noise     Noises a picture to a timestep of the forward process.
    --init IMAGE.png --timestep T --output OUT.safetensors [--png OUT.png] [--seed 0] [--count N]
                                 OUT: x_T [N,C,H,W], for --noise with --begin
eps       Runs the network once.
    --input IN.safetensors --output OUT.safetensors [--dtype f32|f16]
                                 IN: sample [N,C,H,W], timestep [N], optionally class_labels I64 [N]; OUT: eps, the raw output
inspect   Prints JSON: parameters, FLOPs and dispatches a step, bytes, adapter.
    [--dtype f32|f16]
manifest  Writes DIR/manifest.json, by which browsers verify and keep a copy of the folder on the web.
    [--title TEXT] [--licence TEXT]
convert-tfjs  Converts the TensorFlow.js graph model of Keras's DDPM example.
    --model DIR --output DIR
`;
