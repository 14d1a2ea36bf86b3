/** How a run goes on from one of its states with other options. Numbers only: nothing here touches a GPU. */

import { DiffusionError } from '../core/errors.ts';
import type { SchedulerConfig } from '../schedule/config.ts';
import { noiseLevels } from '../schedule/noise_levels.ts';
import { withCurrentNames } from '../schedule/run_options.ts';
import { historyLength, type Step } from '../schedule/step.ts';
import { imageCount, stepsOf, type SampleOptions } from './sample_options.ts';

/** The options that make the states after `start`. An index of the run is the sampler's own plus `offset`. */
export interface Segment {
  readonly start: number;
  readonly offset: number;
  readonly options: SampleOptions;
  /** It starts from its options; otherwise from the state at `start`, in the middle of the sampler's list. */
  readonly own: boolean;
}

/** A segment, and the number of steps that the run has with it. */
export interface Continuation {
  readonly segment: Segment;
  readonly steps: number;
}

/** The numbers of the state that a run is forked from. */
export interface ForkState {
  readonly t: number;
  readonly xT: Float32Array<ArrayBuffer>;
  /** The last x0Hat; null before the first step. */
  readonly x0Hat: Float32Array<ArrayBuffer> | null;
}

/**
 * Continues a run from state `at`. If the steps stay the same, the new options take over in the middle of the list.
 * Otherwise the new list starts at its first timestep that is not above that of the state.
 * @param trunk the segment of state `at`
 * @param read the numbers of that state; called only if the steps change
 * @throws bad-option
 */
export async function continuation(
  config: SchedulerConfig,
  trunk: Segment,
  at: number,
  changes: Partial<SampleOptions>,
  read: () => Promise<ForkState>,
): Promise<Continuation> {
  const options: SampleOptions = { ...trunk.options, ...withCurrentNames(changes) };
  const [before, after] = [imageCount(trunk.options), imageCount(options)];
  if (before !== after)
    throw new DiffusionError(
      'bad-option',
      `The run has ${before} pictures, and goes on with ${after}.`,
      'Keep their number, or start a new run.',
    );
  if (sameSteps(config, options, trunk.options)) {
    const own = trunk.own && at === trunk.start && at > 0;
    const steps = stepsOf(config, options).length + trunk.offset;
    return { segment: { start: at, offset: trunk.offset, options, own }, steps };
  }
  if (options.mask)
    throw new DiffusionError(
      'bad-option',
      'A run that keeps a part of a picture keeps its list of steps.',
      'Change the seed, the label or the guidance, or start a new run.',
    );
  const continued = restart(config, options, await read());
  const steps = at + stepsOf(config, continued).length;
  return { segment: { start: at, offset: at, options: continued, own: true }, steps };
}

/** Whether two runs take the same sampler through the same timesteps. */
function sameSteps(config: SchedulerConfig, a: SampleOptions, b: SampleOptions): boolean {
  const [now, then] = [stepsOf(config, a), stepsOf(config, b)];
  return (
    (a.scheduler ?? config.scheduler) === (b.scheduler ?? config.scheduler) &&
    now.length === then.length &&
    historyLength(now) === historyLength(then) &&
    now.every(({ t, tPrev }, i) => t === then[i]!.t && tPrev === then[i]!.tPrev)
  );
}

/**
 * The options of a run that starts from a state: at the first step whose timestep is not above that of the state. The state
 * is carried there along the line of its x0Hat.
 */
function restart(config: SchedulerConfig, options: SampleOptions, state: ForkState): SampleOptions {
  const { init, ...rest }: { -readonly [K in keyof SampleOptions]: SampleOptions[K] } = options;
  delete rest.strength;
  delete rest.z;
  const xT = state.xT.slice();
  const clean = state.x0Hat ?? init;
  const firstOf = (startStep: number): Step | undefined => {
    try {
      return stepsOf(config, { ...rest, startStep })[0];
    } catch (error) {
      if (startStep === 0) throw error;
      return undefined; // nothing is left to do
    }
  };
  let startStep = 0;
  if (clean) {
    for (let above = options.timesteps?.length ?? options.steps ?? config.T; startStep < above;) {
      const middle = (startStep + above) >> 1;
      if ((firstOf(middle)?.t ?? -1) > state.t) startStep = middle + 1;
      else above = middle;
    }
  }
  const first = firstOf(startStep);
  if (!first)
    throw new DiffusionError(
      'bad-option',
      `The new steps have nothing to do below timestep ${state.t}.`,
      'Fork earlier, or take more steps.',
    );
  if (clean && first.t !== state.t) {
    const level = noiseLevels(config);
    const [here, there] = [level(state.t), level(first.t)];
    const [ofX, ofClean] = [there.s / here.s, there.a - (here.a * there.s) / here.s];
    for (let i = 0; i < xT.length; i++) xT[i] = ofX * xT[i]! + ofClean * clean[i]!;
  }
  return { ...rest, xT, startStep };
}
