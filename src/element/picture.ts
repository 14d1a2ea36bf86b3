/** Saving: loaded when a picture is saved or a run has come to its end. */

import { grid } from '../core/pixels.ts';
import { png } from '../export/png.ts';
import { formatRecipe, makeRecipe, RECIPE_KEYWORD } from '../export/recipe.ts';
import { readTensor } from '../gpu/transfer.ts';
import { termsOf, type Player, type StateView, type StoredState } from '../player.ts';
import type { Lease } from '../runtime.ts';

/** The recipe of a run without forks, as JSON. */
export function recipeOf(player: Player, source: string): string {
  const { lease, options } = player;
  const { model } = lease;
  const shape = player.at(player.index)!.xT.shape;
  return formatRecipe(makeRecipe({ source, key: lease.source.key, dtype: model.dtype }, options!, shape));
}

/** What a view shows of a state, as PNG. @param recipe goes into its metadata, unless empty */
export async function picture(
  { gpu, model }: Lease,
  state: StoredState,
  view: StateView,
  recipe: string,
): Promise<Blob> {
  const config = model.schedulerConfig;
  const [first, second] = termsOf(view, state, config) ?? termsOf('x_t', state, config)!;
  const sum = await readTensor(gpu, first!.tensor);
  const other = second ? await readTensor(gpu, second.tensor) : null;
  for (let i = 0; i < sum.length; i++)
    sum[i] = first!.weight * sum[i]! + (other ? second!.weight * other[i]! : 0);
  const text: Record<string, string> = recipe ? { [RECIPE_KEYWORD]: recipe } : {};
  return new Blob([png(grid(sum, state.xT.shape), text)], { type: 'image/png' });
}
