/** The playground: its parts, joined. What a visitor does goes to the store or to the runs, and the panels render from them. */

import { toBytes } from '../../core/pixels.ts';
import { DiffusionError } from '../../core/errors.ts';
import { readTensor } from '../../engine/gpu/transfer.ts';
import { byId } from '../../ui/dom.ts';
import { Painter } from '../../ui/painter.ts';
import { Compare } from './compare.ts';
import { Edit } from './edit.ts';
import { Files } from './files.ts';
import { ForkForm } from './fork_form.ts';
import { Gallery } from './gallery.ts';
import { bindKeys } from './keys.ts';
import { guarded, showError } from './messages.ts';
import { ModelPanel } from './model_panel.ts';
import { Runs } from './runs.ts';
import { SettingsPanel } from './settings_panel.ts';
import { SharePanel } from './share_panel.ts';
import { Slide } from './slide.ts';
import { Store } from './store.ts';
import { Transport } from './transport.ts';
import { makeViews } from './views.ts';

const store = new Store();
const models = new ModelPanel(store);
const stage: Painter = new Painter(
  makeViews(store, () => stage.paint()),
  showError,
);
const edit = new Edit(() => store.state);
const gallery = new Gallery(({ picture, recipe, caption }) => {
  const text = `${caption}: its settings are back. Draw makes it again.`;
  void guarded(() => files.bringBack(recipe, picture, text));
});
const runs = new Runs({ store, models, edit, stage, compare: new Compare(), gallery, slide: new Slide() });
const files = new Files(store, runs, models, edit);
const share = new SharePanel(store, runs, models);
const settings = new SettingsPanel(store, opened);
const transport = new Transport(store, runs);
const forkForm = new ForkForm(store, runs);
bindKeys({ store, runs, settings, transport, forkForm });

store.subscribe(() => edit.render());
models.addEventListener('chosen', () => {
  settings.use(models.info!);
  edit.use(models.info!);
});
addEventListener('hashchange', () => {
  if (store.readAddress()) void guarded(() => models.openChosen());
});

byId('edit-go').addEventListener('click', () => {
  if (runs.busy) return;
  transport.showStage();
  if (store.state.edit === 'slide' || !edit.empty) void runs.drawEdit();
  else
    showError(
      new DiffusionError('bad-input', 'There is no picture yet.', 'Draw one, drop one, or take the result.'),
    );
});
byId('take').addEventListener('click', () => {
  const player = runs.lane?.player;
  if (player?.status !== 'done') return;
  void guarded(async () => {
    const numbers = await readTensor(player.lease.gpu, player.at(player.index)!.xT);
    const [, c, h, w] = edit.shape;
    edit.setPicture(toBytes(numbers.subarray(0, c * h * w)));
    store.touch();
  });
});

/** What a drawer asks for when it is opened. */
function opened(tab: string): void {
  if (tab === 'model') void models.showCached();
  if (tab === 'share') void share.offerVideo();
}

store.render();
opened(store.state.tab);
void models.start();
