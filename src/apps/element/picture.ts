/** Saving: loaded when a picture is saved or a run has come to its end. */

import { grid } from '../../core/pixels.ts';
import { png } from '../../ui/export/png.ts';
import { formatRecipe, makeRecipe, RECIPE_KEYWORD } from '../../session/recipe.ts';
import type { Player, StoredState } from '../../session/player.ts';
import { readTerms, termsOf, type StateView } from '../../session/state_view.ts';
import type { Lease } from '../../loading/runtime.ts';

/** The recipe of a run without forks, as JSON. */
export function recipeOf(player: Player, source: string): string {
  const { lease, options } = player;
  const { model } = lease;
  const shape = player.at(player.index)!.xT.shape;
  return formatRecipe(makeRecipe({ source, key: lease.source!.key, dtype: model.dtype }, options!, shape));
}

/** What a view shows of a state, as PNG. @param recipe goes into its metadata, unless empty */
export async function picture(
  { gpu, model }: Lease,
  state: StoredState,
  view: StateView,
  recipe: string,
): Promise<Blob> {
  const config = model.schedulerConfig;
  const terms = termsOf(view, state, config) ?? termsOf('x_t', state, config)!;
  const numbers = await readTerms(gpu, terms);
  const text: Record<string, string> = recipe ? { [RECIPE_KEYWORD]: recipe } : {};
  return new Blob([png(grid(numbers, state.xT.shape), text)], { type: 'image/png' });
}
