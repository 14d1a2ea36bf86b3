/** Runs that are played, stepped, walked through, forked, and outlive their device: the same bits, whatever the way. */

import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { diskFiles } from '../../src/apps/cli/files.ts';
import { nodeGpu } from '../../src/apps/cli/node_gpu.ts';
import { readTensor } from '../../src/engine/gpu/transfer.ts';
import { draw } from '../../src/session/draw.ts';
import { Player } from '../../src/session/player.ts';
import { termsOf, type StateView } from '../../src/session/state_view.ts';
import { Runtime, type Lease } from '../../src/loading/runtime.ts';
import { sample } from '../../src/session/sample.ts';
import type { SampleOptions } from '../../src/session/sample_options.ts';
import { noiseLevels } from '../../src/schedule/noise_levels.ts';
import { expectClose } from '../helpers/array.ts';

const SOURCE = {
  key: 'small',
  title: 'One head',
  bytes: null,
  licence: null,
  verified: false,
  files: diskFiles(fileURLToPath(new URL('../fixtures/unets/attention', import.meta.url))),
};

let runtime: Runtime;
let lease: Lease;

beforeAll(async () => {
  runtime = new Runtime({ gpu: nodeGpu, linger: 0 });
  lease = await runtime.acquire(SOURCE);
});
afterAll(() => lease.release());

/** Resolves at the next resting status. */
const rest = (player: Player): Promise<void> =>
  new Promise((resolve, reject) => {
    player.addEventListener('state', () => {
      if (player.status === 'failed') reject(player.error!);
      else if (player.status !== 'running') resolve();
    });
  });

const bits = async (player: Player, k = player.index): Promise<Uint32Array> =>
  new Uint32Array((await readTensor(lease.gpu, player.at(k)!.xT)).buffer);

/** All states of a run, by the sampler alone. */
async function plain(options: SampleOptions): Promise<Uint32Array[]> {
  const out: Uint32Array[] = [];
  for await (const { xT } of sample(lease.model, options))
    out.push(new Uint32Array((await readTensor(lease.gpu, xT)).buffer));
  return out;
}

const base: SampleOptions = { count: 2, seed: 11, steps: 6 };

describe.each(['ddim', 'ddpm', 'dpmpp-2m', 'heun', 'pndm', 'dpmpp-sde', 'unipc'] as const)(
  '%s',
  (scheduler) => {
    it('played, forked at k, and with only some states kept: the states of the sampler, bit for bit', async () => {
      const options = { ...base, scheduler };
      const states = await plain(options);
      const last = states.length - 1;
      const player = new Player(lease);
      const sparse = new Player(lease, { budget: 1 });
      player.start(options);
      sparse.start(options);
      await Promise.all([rest(player), rest(sparse)]); // their steps alternate
      expect([player.status, player.steps, player.index]).toEqual(['done', last, last]);
      expect(player.stored).toHaveLength(states.length);
      expect(sparse.stored).toEqual([0, last]);
      for (let k = 0; k <= last; k++) expect(await bits(player, k), `state ${k}`).toEqual(states[k]);

      const k = Math.floor(last / 2);
      sparse.seek(k);
      await rest(sparse);
      expect([sparse.status, sparse.index]).toEqual(['paused', k]);
      expect(await bits(sparse)).toEqual(states[k]);
      for (const one of [player, sparse]) {
        one.fork(k, {});
        await rest(one);
        expect(one.forks).toEqual([k]);
        expect(await bits(one)).toEqual(states[last]);
        one.seek(k - 1); // before the fork
        if (one.status === 'running') await rest(one);
        expect(await bits(one)).toEqual(states[k - 1]);
        one.destroy();
      }
    });
  },
);

it('steps, steps back, seeks; the end is reached by play', async () => {
  const states = await plain(base);
  const player = new Player(lease);
  const seen: number[] = [];
  player.addEventListener('step', () => seen.push(player.index));
  player.start(base, true);
  await rest(player);
  expect([player.status, player.index, player.t]).toEqual(['paused', 0, 830]);
  await player.step();
  await player.step();
  player.stepBack();
  await player.step();
  player.seek(99);
  await rest(player);
  expect(player.status).toBe('done');
  player.seek(-3);
  expect([player.status, player.index]).toEqual(['paused', 0]);
  let done = 0;
  player.addEventListener('done', () => done++);
  player.play();
  await rest(player);
  expect(done).toBe(1);
  expect(seen).toEqual([0, 1, 2, 1, 2, 6, 0, 1, 2, 3, 4, 5, 6]);
  expect(await bits(player)).toEqual(states[6]);
  player.destroy();
});

it('a fork changes what comes after, and nothing before', async () => {
  const options = { ...base, scheduler: 'ddpm' } as const;
  const player = new Player(lease);
  player.start(options);
  await rest(player);
  const before = await Promise.all([2, 3, 6].map((k) => bits(player, k)));
  player.fork(3, { seed: 12 });
  await rest(player);
  expect(await bits(player, 2)).toEqual(before[0]);
  expect(await bits(player, 3)).toEqual(before[1]);
  expect(await bits(player, 6)).not.toEqual(before[2]);
  // The noise of a step is addressed by seed and step: the same fork, the same picture.
  const once = await bits(player, 6);
  player.fork(3, { seed: 12 });
  await rest(player);
  expect(await bits(player, 6)).toEqual(once);

  // Another sampler with the timesteps of its own: taken up below t_3, to the end.
  const t = player.at(3)!.t;
  player.fork(3, { scheduler: 'dpmpp-2m', steps: 10 });
  await rest(player);
  expect(player.status).toBe('done');
  expect(player.at(4)!.step!.t).toBeLessThanOrEqual(t);
  expect(player.steps).toBeLessThan(13);
  expect(await bits(player, 3)).toEqual(before[1]);
  expect(player.options).toMatchObject({ scheduler: 'dpmpp-2m', seed: 12 });
  player.destroy();
});

it('options that make no sense leave the run as it was', async () => {
  const player = new Player(lease);
  player.start({ ...base, steps: 2 });
  await rest(player);
  const final = await bits(player);
  for (const refused of [
    () => player.start({ ...base, steps: 0 }),
    () => player.fork(1, { eta: 7 }),
    () => player.fork(1, { count: 3 }),
  ]) {
    const error = new Promise((resolve) => player.addEventListener('error', resolve, { once: true }));
    refused();
    await error;
    expect(player.error?.code).toBe('bad-option');
    player.seek(2);
    expect(player.status).toBe('done');
    expect(await bits(player)).toEqual(final);
  }
  const first = new Player(lease);
  const error = new Promise((resolve) => first.addEventListener('error', resolve, { once: true }));
  first.start({ ...base, steps: 0 });
  await error;
  expect(first.status).toBe('failed');
  player.destroy();
  first.destroy();
});

it('pause holds, stop ends, and both go on with the same bits', async () => {
  const states = await plain(base);
  const player = new Player(lease);
  player.addEventListener('step', () => {
    if (player.index === 2 && player.status === 'running') player.pause();
    if (player.index === 4 && player.status === 'running') player.stop();
  });
  player.start(base);
  await rest(player);
  expect([player.status, player.index]).toEqual(['paused', 2]);
  player.play();
  await rest(player);
  expect([player.status, player.index]).toEqual(['idle', 4]);
  expect(await bits(player)).toEqual(states[4]);
  player.play();
  await rest(player);
  expect(await bits(player)).toEqual(states[6]);
  player.destroy();
});

it('what a view shows is the affine combination that its name says', async () => {
  const player = new Player(lease);
  player.start(base);
  await rest(player);
  const state = player.at(3)!;
  const config = lease.model.schedulerConfig;
  const [x, x0, before] = await Promise.all(
    [state.xT, state.x0Hat!, state.before!].map((tensor) => readTensor(lease.gpu, tensor)),
  );
  expect(before).toEqual(new Float32Array((await bits(player, 2)).buffer as ArrayBuffer));
  const { a, s } = noiseLevels(config)(state.step!.t);
  const shown = async (view: StateView): Promise<Float64Array> => {
    const out = new Float64Array(x!.length);
    for (const { tensor, weight } of termsOf(view, state, config)!)
      (await readTensor(lease.gpu, tensor)).forEach((v, i) => (out[i]! += weight * v));
    return out;
  };
  expectClose(await shown('x_t'), x!, { atol: 0, rtol: 0 }, 'x_t');
  expectClose(await shown('x0'), x0!, { atol: 0, rtol: 0 }, 'x0');
  const eps = before!.map((v, i) => (v - a * x0![i]!) / s / 2);
  expectClose(await shown('eps'), eps, { atol: 1e-5, rtol: 0 }, 'eps');
  const update = await shown('update');
  expect(Math.max(...update.map(Math.abs))).toBeGreaterThan(0.3);
  expect(Math.max(...update.map(Math.abs))).toBeLessThan(4);
  expect(termsOf('eps', player.at(0)!, config)).toBeNull();
  player.destroy();
});

it('nothing is left of a player that has gone', async () => {
  const { device } = lease.gpu;
  let live = 0;
  const create = device.createBuffer.bind(device);
  device.createBuffer = (descriptor) => {
    const buffer = create(descriptor);
    live++;
    const destroy = buffer.destroy.bind(buffer);
    let gone = false;
    buffer.destroy = () => {
      if (!gone) live--;
      gone = true;
      destroy();
    };
    return buffer;
  };
  const once = async (): Promise<number> => {
    const player = new Player(lease);
    player.start({ ...base, steps: 3 });
    await rest(player);
    player.fork(1, { eta: 1 });
    await rest(player);
    player.start({ ...base, steps: 3 });
    player.destroy(); // in the middle of it
    await new Promise((resolve) => setTimeout(resolve, 500));
    return live;
  };
  const first = await once(); // the plan of the model stays
  expect(await once()).toBe(first);
  expect(await once()).toBe(first);
  device.createBuffer = create;
});

it('a branch goes its own way from state k, and the trunk keeps all of its states', async () => {
  const options = { ...base, scheduler: 'ddpm' } as const;
  const states = await plain(options);
  for (const budget of [undefined, 1]) {
    const trunk = new Player(lease, budget === undefined ? {} : { budget });
    trunk.start(options);
    await rest(trunk);
    const [same, other] = [trunk.branch(3), trunk.branch(3)];
    for (const one of [same, other]) if (one.status === 'running') await rest(one);
    expect([same.status, same.index, same.steps]).toEqual(['paused', 3, 6]);
    expect(await bits(same)).toEqual(states[3]);
    same.play();
    other.fork(3, { seed: 12 });
    await Promise.all([rest(same), rest(other)]);
    expect(await bits(same)).toEqual(states[6]);
    expect(await bits(other)).not.toEqual(states[6]);
    for (const one of [same, other]) one.destroy();
    expect(await bits(trunk, 6)).toEqual(states[6]);
    trunk.seek(2);
    if (trunk.status === 'running') await rest(trunk);
    expect(await bits(trunk)).toEqual(states[2]);
    trunk.destroy();
  }
});

it('start resolves at the first state, settled at rest; refusals reject, and so does what is overtaken', async () => {
  const player = new Player(lease);
  await player.start(base);
  expect([player.status, player.index, player.steps]).toEqual(['running', 0, 6]);
  await player.settled();
  expect([player.status, player.index]).toEqual(['done', 6]);
  const final = await bits(player);

  let errors = 0;
  player.addEventListener('error', () => errors++);
  await expect(player.start({ ...base, steps: 0 })).rejects.toMatchObject({ code: 'bad-option' });
  await expect(player.settled()).rejects.toBe(player.error);
  await expect(player.fork(2, { count: 3 })).rejects.toMatchObject({ code: 'bad-option' });
  expect(errors).toBe(2);
  await player.seek(6);
  await player.settled(); // the last command went well
  expect(await bits(player)).toEqual(final);

  const overtaken = player.start({ ...base, seed: 1 });
  const last = player.start(base);
  await expect(overtaken).rejects.toMatchObject({ code: 'aborted' });
  await last;
  await player.settled();
  expect(await bits(player)).toEqual(final);
  await player.fork(3, { seed: 12 });
  expect([player.forks, player.index]).toEqual([[3], 3]);
  const branch = player.branch(2);
  await branch.settled();
  expect([branch.status, branch.index]).toEqual(['paused', 2]);
  branch.destroy();
  await expect(branch.step()).rejects.toMatchObject({ code: 'aborted' });
  await player.settled();
  player.destroy();
  expect(errors).toBe(2);
});

it('a model of the caller’s own: Player, sample and draw take it as they take a lease', async () => {
  const states = await plain(base);
  const player = new Player(lease.model);
  await player.start(base);
  await player.settled();
  expect(await bits(player)).toEqual(states[6]);

  // With a lease, for-await shares the turns: two runs at once, step by step in between one another.
  const order: string[] = [];
  const collect = async (name: string, seed: number): Promise<Uint32Array> => {
    let last = new Uint32Array();
    for await (const { index, steps, xT } of sample(lease, { ...base, seed })) {
      order.push(`${name}${index}`);
      if (index === steps) last = new Uint32Array((await readTensor(lease.gpu, xT)).buffer);
    }
    return last;
  };
  const [a, b] = await Promise.all([collect('a', 11), collect('b', 12)]);
  expect(a).toEqual(states[6]);
  expect(b).not.toEqual(states[6]);
  expect(order.indexOf('b3')).toBeLessThan(order.indexOf('a5'));
  const turn = vi.spyOn(lease, 'turn');
  for await (const { index } of sample(lease, base)) if (index === 2) break;
  expect(turn).toHaveBeenCalledTimes(3);
  turn.mockRestore();

  const images = await draw(lease.model, base);
  const [count, channels, height, width] = player.at(6)!.xT.shape;
  expect(images.map((image) => [image.width, image.height])).toEqual(Array(count).fill([width, height]));
  const x = new Float32Array(states[6]!.buffer);
  images.forEach(({ data }, n) => {
    for (let p = 0; p < width * height; p++) {
      const shown = [0, 1, 2].map((k) => {
        const plane = n * channels + (channels >= 3 ? k : 0);
        return Uint8ClampedArray.of((x[plane * width * height + p]! / 2 + 0.5) * 255)[0];
      });
      expect([...data.subarray(4 * p, 4 * p + 4)]).toEqual([...shown, 255]);
    }
  });
  player.destroy();
});

// Last: devices that are lost on purpose, after which Dawn on lavapipe does not always go on.
describe('one device and one model for all', () => {
  /** @param lostAfter milliseconds from the loss of a device until it reports its loss */
  const counted = (lostAfter = 0) => {
    const count = { files: 0, devices: 0, destroyed: 0 };
    const own = new Runtime({
      linger: 0,
      async gpu() {
        const gpu = (await nodeGpu())!;
        return {
          async requestAdapter() {
            const adapter = (await gpu.requestAdapter())!;
            const request = adapter.requestDevice.bind(adapter);
            adapter.requestDevice = async (descriptor) => {
              count.devices++;
              const device = await request(descriptor);
              void device.lost.then(() => count.destroyed++);
              const lost = device.lost.then((info) => later(lostAfter).then(() => info));
              if (lostAfter) Object.defineProperty(device, 'lost', { value: lost });
              return device;
            };
            return adapter;
          },
        } as GPU;
      },
    });
    const files = {
      label: SOURCE.files.label,
      read: (path: string, signal?: AbortSignal) => {
        if (path.endsWith('.safetensors')) count.files++;
        return SOURCE.files.read(path, signal);
      },
    };
    return { own, count, source: { ...SOURCE, files } };
  };
  const later = (ms = 300) => new Promise((resolve) => setTimeout(resolve, ms));

  it('is downloaded and uploaded once for five, and freed with the last', async () => {
    const { own, count, source } = counted();
    const leases = await Promise.all(Array.from({ length: 5 }, () => own.acquire(source)));
    const { files } = count;
    expect(count).toEqual({ files, devices: 1, destroyed: 0 });
    expect(new Set(leases.map((l) => l.model)).size).toBe(1);
    const order: number[] = [];
    const turns = [0, 1, 0, 1, 2].map((who, i) =>
      leases[who]!.turn(async () => {
        order.push(i);
        await later(1);
        if (i === 1) throw new Error('a turn that fails');
      }).catch(() => order.push(-1)),
    );
    await Promise.all(turns);
    expect(order.filter((i) => i >= 0)).toEqual([0, 1, 2, 3, 4]);
    leases.slice(1).forEach((l) => l.release());
    leases[1]!.release();
    await later();
    expect(count.destroyed).toBe(0);
    leases[0]!.release();
    await later();
    expect(count.destroyed).toBe(1);
    const again = await own.acquire(source);
    expect(count.devices).toBe(2);
    again.release();
  });

  it('one who leaves while it loads does not take it from the others; the last one ends the loading', async () => {
    const { own, source } = counted();
    const [leaving, staying] = [new AbortController(), new AbortController()];
    const left = own.acquire(source, { signal: leaving.signal });
    const stayed = own.acquire(source, { signal: staying.signal });
    leaving.abort();
    await expect(left).rejects.toMatchObject({ code: 'aborted' });
    const lease = await stayed;
    expect(lease.model.config.sampleSize).toBeTruthy();
    lease.release();
    await later();
    let asked: AbortSignal | undefined;
    const slow = {
      ...source,
      key: 'slow',
      files: {
        label: 'slow',
        read: (_: string, signal?: AbortSignal) =>
          new Promise<null>((resolve) => {
            asked = signal;
            signal!.addEventListener('abort', () => resolve(null));
          }),
      },
    };
    const alone = own.acquire(slow, { signal: staying.signal });
    await later();
    staying.abort();
    await expect(alone).rejects.toMatchObject({ code: 'aborted' });
    expect(asked!.aborted).toBe(true);
  });

  it('a lost device is opened again once, and a run goes on to the same bits; twice is an error', async () => {
    const { own, count, source } = counted();
    const held = await own.acquire(source);
    const read = async (player: Player) =>
      new Uint32Array((await readTensor(held.gpu, player.at(player.index)!.xT)).buffer);
    const player = new Player(held);
    const options = { ...base, scheduler: 'dpmpp-2m' } as const;
    player.start(options);
    await rest(player);
    const final = await read(player);

    const lose = () => {
      if (player.index !== 3) return;
      player.removeEventListener('step', lose);
      held.gpu.device.destroy();
    };
    player.addEventListener('step', lose);
    player.start(options);
    await rest(player);
    expect(player.status).toBe('done');
    expect(count.devices).toBe(2);
    expect(await read(player)).toEqual(final);

    let failed: unknown = null;
    held.addEventListener('error', () => (failed = held.failure));
    player.addEventListener('step', lose);
    player.start(options);
    await expect(rest(player)).rejects.toMatchObject({ code: 'device-lost' });
    expect(failed).toMatchObject({ code: 'device-lost' });
    player.destroy();
    held.release();
    const fresh = await own.acquire(source); // somebody asks again
    expect(count.devices).toBe(3);
    fresh.release();
  });

  it('a loss that the device reports a second after its commands fail, as Firefox may', async () => {
    const { own, count, source } = counted(1000);
    const held = await own.acquire(source);
    const player = new Player(held);
    player.start(base);
    await rest(player);
    const final = await readTensor(held.gpu, player.at(player.index)!.xT);
    const lose = () => {
      if (player.index !== 3) return;
      player.removeEventListener('step', lose);
      held.gpu.device.destroy();
    };
    player.addEventListener('step', lose);
    player.start(base);
    await rest(player);
    expect([player.status, count.devices]).toEqual(['done', 2]);
    expect(await readTensor(held.gpu, player.at(player.index)!.xT)).toEqual(final);
    player.destroy();
    held.release();
  });

  it('what rests when the device is lost is there again afterwards', async () => {
    const { own, source } = counted();
    const held = await own.acquire(source);
    const player = new Player(held);
    player.start(base);
    await rest(player);
    player.seek(4);
    const before = await readTensor(held.gpu, player.at(4)!.xT);
    const back = new Promise((resolve) => player.addEventListener('step', resolve, { once: true }));
    held.gpu.device.destroy();
    await back;
    expect([player.status, player.index]).toEqual(['paused', 4]);
    expect(await readTensor(held.gpu, player.at(4)!.xT)).toEqual(before);
    player.destroy();
    held.release();
  });
});

it('a page keeps what was measured on a GPU for its next visit; on a software adapter nothing is measured', async () => {
  const kept = new Map<string, string>();
  const writes: string[] = [];
  vi.stubGlobal('document', {});
  vi.stubGlobal('localStorage', {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => (writes.push(key), kept.set(key, value)),
  });
  const info = {
    vendor: 'a',
    architecture: 'real',
    device: '',
    description: 'GPU',
    isFallbackAdapter: false,
  };
  /** The adapter of the tests, which says that it is hardware. */
  const hardware = async () => {
    const gpu = (await nodeGpu())!;
    const requestAdapter = async () => {
      const adapter = (await gpu.requestAdapter())!;
      const get = (target: GPUAdapter, key: string | symbol): unknown => {
        const value = Reflect.get(target, key) as unknown;
        if (key === 'info') return { ...info, subgroupMinSize: target.info.subgroupMinSize };
        return typeof value === 'function' ? value.bind(target) : value;
      };
      return new Proxy(adapter, { get });
    };
    return { requestAdapter } as unknown as GPU;
  };
  try {
    const visit = async (gpu: () => Promise<GPU | undefined>) =>
      (
        await new Runtime({ gpu, linger: 0 }).acquire(
          SOURCE,
          gpu === nodeGpu ? {} : { tune: { budget: 60_000 } },
        )
      ).release();
    await visit(nodeGpu);
    expect(writes).toEqual([]);
    await visit(hardware);
    expect(writes).toEqual([expect.stringMatching(/tuning .* f32 a real GPU [0-9a-f]+$/)]);
    expect(Object.keys(JSON.parse([...kept.values()][0]!) as object)[0]).toMatch(/^32-32 3\/1 /);
    await visit(hardware);
    vi.stubGlobal('localStorage', undefined);
    await visit(hardware); // without storage it is measured, and not kept
  } finally {
    vi.unstubAllGlobals();
  }
});
