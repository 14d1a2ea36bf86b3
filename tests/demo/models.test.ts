/** Which model a visitor gets who asks for none. */

import { expect, it } from 'vitest';
import { defaultModel, type Bundled } from '../../src/apps/playground/models.ts';

const model = (name: string, bytes: number): Bundled => ({ name, title: name, bytes, licence: 'MIT' });
const list = [model('small', 9e5), model('digits', 1.4e6), model('avatars', 12e6), model('shapes', 5e6)];

it('is the one with most weights on a GPU, and the digits where software computes', () => {
  expect(defaultModel(list, false)).toBe('avatars');
  expect(defaultModel(list.toReversed(), false)).toBe('avatars');
  expect(defaultModel(list, true)).toBe('digits');
});

it('without the digits it is the smallest; without any list the digits are asked for, and the error says what is wrong', () => {
  expect(defaultModel([list[2]!, list[3]!], true)).toBe('shapes');
  expect(defaultModel([], true)).toBe('digits');
  expect(defaultModel([], false)).toBe('digits');
});
