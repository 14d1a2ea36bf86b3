/** The stage's controls: the button Draw, play and step, the timeline, the lanes of forks. They render from the runs. */

import { byId, h, input } from '../../ui/dom.ts';
import { reducedMotion } from '../../ui/motion.ts';
import { MOST_LANES, type Lane, type Runs } from './runs.ts';
import type { Store } from './store.ts';
import { VIEW_NAMES } from './views.ts';

const button = (id: string): HTMLButtonElement => byId<HTMLButtonElement>(id);

export class Transport {
  readonly #store: Store;
  readonly #runs: Runs;

  constructor(store: Store, runs: Runs) {
    this.#store = store;
    this.#runs = runs;
    store.subscribe(() => this.#render());
    runs.addEventListener('change', () => this.#render());
    byId('controls').addEventListener('submit', (event) => {
      event.preventDefault();
      this.drawOrStop();
    });
    byId('play').addEventListener('click', () => this.playOrPause());
    byId('step').addEventListener('click', () => void runs.lane?.player.step());
    byId('back').addEventListener('click', () => runs.lane?.player.stepBack());
    input('timeline').addEventListener('input', () => {
      void runs.lane?.player.seek(Number(input('timeline').value));
    });
    byId('compare-go').addEventListener('click', () => {
      if (runs.busy) return;
      this.showStage();
      void runs.runBoth();
    });
  }

  drawOrStop(): void {
    if (this.#runs.busy) return this.#runs.stop();
    if (this.#store.state.tab === 'compare') this.#store.set({ tab: '' }, { touch: false }); // it hides the stage
    this.showStage();
    void this.#runs.draw();
  }

  playOrPause(): void {
    const player = this.#runs.lane?.player;
    if (player?.status === 'running') player.pause();
    else player?.play();
  }

  /** On a small screen the stage may be out of sight of the button. */
  showStage(): void {
    const behavior = reducedMotion() ? 'auto' : 'smooth';
    const stage = this.#store.state.tab === 'compare' ? 'comparison' : 'frame';
    byId(stage).scrollIntoView({ block: 'nearest', behavior });
  }

  #render(): void {
    const { lane, lanes, busy, ready } = this.#runs;
    const draw = button('draw');
    draw.textContent = busy ? 'Stop' : !lane ? 'Draw one' : this.#store.touched ? 'Draw' : 'Draw another';
    draw.disabled = !busy && !ready;
    for (const id of ['edit-go', 'compare-go']) button(id).disabled = !ready;
    const there = lane !== undefined && lane.player.steps > 0;
    for (const id of ['transport', 'views']) byId(id).hidden = !there;
    byId('stage').toggleAttribute('data-fresh', !there);
    byId('lanes').hidden = !there || lanes.length < 2;
    byId('canvas').hidden = !there;
    byId('poster').hidden = there;
    for (const id of ['save-png', 'save-apng', 'save-webm', 'save-mp4']) button(id).disabled = !there || busy;
    button('save-json').disabled = !there;
    button('take').disabled = lane?.player.status !== 'done';
    if (!there) return;
    this.#renderState(lane);
    this.#renderLanes();
  }

  #renderState({ player, options }: Lane): void {
    const { index, steps, status, t } = player;
    const running = status === 'running';
    const where = t >= 0 ? `, t = ${Number(t.toFixed(1))}` : ': the picture';
    const text = index === 0 ? `Pure noise; ${steps} steps to go.` : `Step ${index} of ${steps}${where}.`;
    Object.assign(input('timeline'), { max: String(steps), value: String(index) });
    input('timeline').setAttribute('aria-valuetext', text);
    byId('caption').textContent = text;
    const [, view] = VIEW_NAMES[this.#store.state.view];
    const alternative = `${view}, after step ${index} of ${steps}; seed ${options.seed ?? 0}`;
    byId('canvas').setAttribute('aria-label', alternative);
    byId('play').classList.toggle('running', running);
    byId('play').setAttribute('aria-label', running ? 'Pause' : 'Play');
    button('back').disabled = index === 0;
    button('step').disabled = running || index >= steps;
    button('fork-open').disabled = running || index >= steps || this.#runs.lanes.length >= MOST_LANES;
    byId('fork-at').textContent = `step ${index}`;
  }

  #renderLanes(): void {
    const { lanes, active } = this.#runs;
    const host = byId('lanes');
    if (host.childElementCount !== lanes.length)
      host.replaceChildren(
        ...lanes.map(({ name }, i) => {
          const rail = h('span', { class: 'rail' }, h('span', { class: 'bar' }), h('span', { class: 'now' }));
          const onclick = (): void => this.#runs.activate(i);
          return h('button', { type: 'button', class: 'lane', onclick }, rail, h('span', { class: 'name' }, name)); // prettier-ignore
        }),
      );
    const longest = Math.max(...lanes.map(({ player }) => player.steps), 1);
    lanes.forEach(({ player, at }, i) => {
      const lane = host.children[i] as HTMLElement;
      lane.setAttribute('aria-pressed', String(i === active));
      for (const [name, value] of [
        ['--from', at],
        ['--to', player.steps],
        ['--now', player.index],
      ] as const)
        // prettier-ignore
        lane.style.setProperty(name, `${((100 * value) / longest).toFixed(2)}%`);
    });
  }
}
