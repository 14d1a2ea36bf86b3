/**
 * A sheet of one style's avatars that differ in one option alone: what do its variants look like? The words of attributes.mjs come
 * from such sheets.
 *
 *     npm run sheet -- STYLE OPTION [JSON of further options] > sheet.png
 */
import * as collection from '@dicebear/collection';
import { createAvatar } from '@dicebear/core';
import { Resvg } from '@resvg/resvg-js';

const [style, option, more = '{}'] = process.argv.slice(2);
const variants = [...collection[style].schema.properties[option].items.enum].sort();
const [SIDE, LINE, COLUMNS] = [110, 14, 12];
const tiles = variants.map((variant, i) => {
  const options = { seed: 'abc', size: SIDE, backgroundColor: ['e8f4f8'], ...JSON.parse(more), [option]: [variant], [`${option}Probability`]: 100 };
  const png = new Resvg(createAvatar(collection[style], options).toString(), { font: { loadSystemFonts: false } }).render().asPng();
  const [x, y] = [(i % COLUMNS) * SIDE, Math.floor(i / COLUMNS) * (SIDE + LINE)];
  return `<image x="${x}" y="${y}" width="${SIDE}" height="${SIDE}" xlink:href="data:image/png;base64,${png.toString('base64')}"/>
<text x="${x + 2}" y="${y + SIDE + 11}" font-size="11" font-family="sans-serif">${variant}</text>`;
});
const [width, height] = [COLUMNS * SIDE, Math.ceil(variants.length / COLUMNS) * (SIDE + LINE)];
const sheet = `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="${width}" height="${height}">
<rect width="100%" height="100%" fill="#fff"/>${tiles.join('\n')}</svg>`;
process.stdout.write(new Resvg(sheet).render().asPng());
