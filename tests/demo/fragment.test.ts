/** An address may say anything: the page reads what it can, and never fails. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { format, INITIAL, parse, type State } from '../../src/apps/playground/fragment.ts';

const KEYS =
  'v model src label seed steps sampler spacing eta guidance count view tab edit strength walks seed2 sampler2 steps2 spacing2 branches';

/** Fragments that look like ours, and some that do not. */
const value = fc.oneof(
  fc.string({ maxLength: 30 }),
  fc.double().map(String),
  fc.maxSafeInteger().map(String),
  fc.constantFrom(
    'any',
    'each',
    'ddim',
    'x0',
    'share',
    '%',
    '%E0%A4',
    '1e9',
    '-1',
    '',
    '0.20.9',
    '0.2.3.ddpm,1.4.5',
    '0.2.3..7',
  ),
);
const fragment = fc.oneof(
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 300 }) },
  {
    weight: 4,
    arbitrary: fc
      .array(fc.tuple(fc.constantFrom(...KEYS.split(' '), 'x', '__proto__', 'constructor'), value), {
        maxLength: 25,
      })
      .map((pairs) => `#${pairs.map(([k, v]) => `${k}=${v}`).join('&')}`),
  },
);

/** The invariants of a state, written anew. */
function isLegal(s: State): boolean {
  const whole = (v: number, least: number, most: number) => Number.isInteger(v) && v >= least && v <= most;
  return (
    Object.keys(s).join() === Object.keys(INITIAL).join() &&
    whole(s.seed, 0, 2 ** 53 - 1) &&
    whole(s.seed2, 0, 2 ** 53 - 1) &&
    whole(s.steps, 1, 1000) &&
    whole(s.steps2, 1, 1000) &&
    whole(s.count, 1, 64) &&
    whole(s.walks, 1, 20) &&
    (typeof s.label === 'string' ? ['any', 'each'].includes(s.label) : whole(s.label, 0, 99_999)) &&
    s.eta >= 0 &&
    s.eta <= 1 &&
    s.guidance >= 0 &&
    s.guidance <= 20 &&
    s.strength > 0 &&
    s.strength <= 1 &&
    s.branches.every((b, i) => whole(b.from, 0, i) && whole(b.at, 0, 1000) && whole(b.seed, 0, 2 ** 53 - 1))
  );
}

it('10,000 random fragments: never an exception, always a legal state that its own address restores', () => {
  fc.assert(
    fc.property(fragment, (hash) => {
      const state = parse(hash);
      expect(isLegal(state)).toBe(true);
      const address = format(state);
      expect(parse(address)).toEqual(state);
      expect(format(parse(address))).toBe(address);
    }),
    { numRuns: 10_000 },
  );
});

it('the initial state has no fragment; a full one is in a fixed order', () => {
  expect(format(INITIAL)).toBe('');
  const state: State = {
    ...INITIAL,
    src: 'huggingface:google/ddpm-cifar10-32@main',
    label: 7,
    seed: 123,
    sampler: 'unipc',
    eta: 0.25,
    view: 'eps',
    branches: [
      { from: 0, at: 20, seed: 9, sampler: '', label: null },
      { from: 1, at: 30, seed: 5, sampler: 'ddpm', label: 3 },
      { from: 0, at: 1, seed: 5, sampler: '', label: 4 },
    ],
  };
  const address = format(state);
  expect(address).toBe(
    '#v=1&src=huggingface%3Agoogle%2Fddpm-cifar10-32%40main&label=7&seed=123&sampler=unipc&eta=0.25&view=eps' +
      '&branches=0.20.9,1.30.5.ddpm.3,0.1.5..4',
  );
  expect(parse(address)).toEqual(state);
  expect(parse(address.slice(1).split('&').reverse().join('&'))).toEqual(state); // any order is read
});

describe('a value out of range is as if it were not there, and the others stay', () => {
  it.each([
    'seed=-1',
    'seed=9007199254740993',
    'seed=1e3',
    'steps=0',
    'steps=1001',
    'steps=NaN',
    'sampler=magic',
    'eta=1.5',
    'eta=-0',
    'guidance=1000',
    'count=65',
    'view=x_T',
    'tab=settings%20',
    'strength=0',
    'label=-3',
    'label=7.5',
    'walks=21',
    'branches=1.4.5',
    'branches=0.1001.5',
    'branches=0.4.5,0.4.5,0.4.5,0.4.5,0.4.5,0.4.5',
    'src=http://example.org/model',
    'src=javascript:alert(1)',
    'src=huggingface:../x@y/z',
    'model=../digits',
    'spacing=karras2',
  ])('%s', (bad) => {
    expect(parse(`#v=1&${bad}&seed2=44&edit=slide`)).toEqual({ ...INITIAL, seed2: 44, edit: 'slide' });
  });
});

it('another version, and a fragment that is too long, are not read', () => {
  expect(parse('#v=2&seed=9')).toEqual(INITIAL);
  expect(parse(`#v=1&seed=9&x=${'y'.repeat(5000)}`)).toEqual(INITIAL);
  expect(parse('#seed=9').seed).toBe(9); // without one: this one
});
