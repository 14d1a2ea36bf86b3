/** Hostile safetensors files and configs, each with the cause that its error must name. */

const encoder = new TextEncoder();

/** A file from a header (text or object) and its data. */
export function file(header: unknown, data = new Uint8Array(), claimed?: bigint): Uint8Array<ArrayBuffer> {
  const json = encoder.encode(typeof header === 'string' ? header : JSON.stringify(header));
  const out = new Uint8Array(8 + json.length + data.length);
  new DataView(out.buffer).setBigUint64(0, claimed ?? BigInt(json.length), true);
  out.set(json, 8);
  out.set(data, 8 + json.length);
  return out;
}

const bytes = (n: number) => new Uint8Array(n);
const tensor = (dtype: unknown, shape: unknown, data_offsets: unknown) => ({ dtype, shape, data_offsets });
const good = tensor('F32', [2], [0, 8]);

export const HOSTILE_FILES: [string, Uint8Array, RegExp][] = [
  ['empty', bytes(0), /has 0 bytes/],
  ['seven bytes', bytes(7), /has 7 bytes/],
  ['zeros', bytes(64), /does not begin with \{/],
  ['truncated header', file({ a: good }, bytes(8)).slice(0, 30), /header claims \d+ bytes, and 22 follow/],
  ['truncated data', file({ a: good }, bytes(7)), /data has 7 bytes/],
  ['header of 2^63 bytes', file('{}', bytes(8), 2n ** 63n), /more than the/],
  ['header of 4 GiB', file('{}', bytes(8), 2n ** 32n), /more than the/],
  ['HTML', encoder.encode('<!doctype html><title>404</title>'), /header claims/],
  ['a git-lfs pointer', encoder.encode('version https://git-lfs.github.com/spec/v1\noid sha256:0'), /header claims/],
  ['not UTF-8', file('{"\xff": 1}').map((b, i) => (i === 10 ? 0xff : b)), /not UTF-8/],
  ['a list', file('[]'), /does not begin with \{/],
  ['space before the brace', file(' {}'), /does not begin with \{/],
  ['text after the brace', file('{}x'), /does not end with \}/],
  ['two objects', file('{}{}'), /more text/],
  ['trailing comma', file('{"a": 1,}'), /JSON/],
  ['single quotes', file("{'a': 1}"), /JSON/],
  ['text without an end', file('{"a}'), /JSON/],
  ['duplicate tensor', file(`{"a":${JSON.stringify(good)},"a":${JSON.stringify(good)}}`, bytes(8)), /"a" appears twice/],
  ['duplicate field', file('{"a":{"dtype":"F32","dtype":"F16","shape":[],"data_offsets":[0,4]}}', bytes(4)), /appears twice/],
  ['__proto__ as a number', file('{"__proto__": 7}'), /entry "__proto__" is not an object/],
  ['__proto__ as a field', file('{"a":{"__proto__":[1],"dtype":"F32","shape":[],"data_offsets":[0,4]}}', bytes(4)), /unknown field "__proto__"/],
  ['constructor as a dtype', file({ a: tensor('constructor', [1], [0, 4]) }, bytes(4)), /unknown dtype/],
  ['a dtype of the future', file({ a: tensor('F4', [2], [0, 1]) }, bytes(1)), /unknown dtype "F4"/],
  ['dtype missing', file({ a: { shape: [1], data_offsets: [0, 4] } }, bytes(4)), /unknown dtype undefined/],
  ['shape with a fraction', file({ a: tensor('F32', [0.5], [0, 2]) }, bytes(2)), /JSON/],
  ['shape with a minus', file({ a: tensor('F32', [-1], [0, 4]) }, bytes(4)), /JSON/],
  ['shape of text', file({ a: tensor('F32', '2', [0, 8]) }, bytes(8)), /not a list of whole numbers/],
  ['shape that overflows', file({ a: tensor('F32', [4294967296, 4294967296], [0, 8]) }, bytes(8)), /needs .* bytes/],
  ['shape beyond 2^53', file('{"a":{"dtype":"F32","shape":[9007199254740993],"data_offsets":[0,4]}}', bytes(4)), /not a list of whole numbers/],
  ['offsets reversed', file({ a: tensor('F32', [2], [8, 0]) }, bytes(8)), /lies at 8 to 0/],
  ['offsets past the end', file({ a: tensor('F32', [2], [0, 800]) }, bytes(8)), /data has 8 bytes/],
  ['three offsets', file({ a: tensor('F32', [2], [0, 4, 8]) }, bytes(8)), /not two whole numbers/],
  ['offsets that are null', file({ a: tensor('F32', [2], null) }, bytes(8)), /JSON/],
  ['size and shape differ', file({ a: tensor('F32', [3], [0, 8]) }, bytes(8)), /needs 12 bytes/],
  ['overlap', file({ a: good, b: tensor('F32', [2], [4, 12]) }, bytes(12)), /overlaps/],
  ['the same bytes twice', file({ a: good, b: good }, bytes(8)), /overlaps/],
  ['a hole', file({ a: good, b: tensor('F32', [1], [12, 16]) }, bytes(16)), /hole of 4 bytes/],
  ['bytes after the last tensor', file({ a: good }, bytes(12)), /4 bytes follow/],
  ['metadata that is not text', file({ __metadata__: { a: 1 } }), /__metadata__/],
  ['a hundred thousand brackets', file(`{"a":${'['.repeat(1e5)}${']'.repeat(1e5)}}`), /JSON/],
  ['a hundred thousand braces', file('{"a":'.repeat(1e5) + '1' + '}'.repeat(1e5)), /JSON/],
]; // prettier-ignore

/** [change to a config that is right, key that the error must name] */
export const HOSTILE_CONFIGS: [string, Record<string, unknown>, RegExp][] = [
  ['another class', { _class_name: 'UNet2DConditionModel' }, /_class_name/],
  ['no block', { block_out_channels: [] }, /block_out_channels/],
  ['blocks as text', { block_out_channels: '16,32' }, /block_out_channels/],
  ['blocks with null', { block_out_channels: [16, null] }, /block_out_channels/],
  ['a fraction of a channel', { block_out_channels: [16, 32.5] }, /block_out_channels/],
  ['channels of 10^9', { block_out_channels: [16, 1e9] }, /block_out_channels/],
  ['negative channels', { block_out_channels: [16, -32] }, /block_out_channels/],
  ['a thousand blocks', { block_out_channels: Array(1000).fill(16) }, /block_out_channels/],
  ['too few block types', { down_block_types: ['DownBlock2D'] }, /down_block_types/],
  ['an unknown block', { down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D'] }, /down_block_types/],
  ['an up block below', { down_block_types: ['DownBlock2D', 'UpBlock2D'] }, /down_block_types/],
  ['a block that is a number', { up_block_types: ['UpBlock2D', 7] }, /up_block_types/],
  ['block types null', { up_block_types: null }, /up_block_types/],
  ['groups that do not divide', { norm_num_groups: 5 }, /norm_num_groups/],
  ['no groups', { norm_num_groups: 0 }, /norm_num_groups/],
  ['groups null', { norm_num_groups: null }, /norm_num_groups/],
  ['a head that does not divide', { attention_head_dim: 7 }, /attention_head_dim/],
  ['a head of zero', { attention_head_dim: 0 }, /attention_head_dim/],
  ['an odd size', { sample_size: 31 }, /halved/],
  ['size zero', { sample_size: 0 }, /sample_size/],
  ['three sides', { sample_size: [8, 8, 8] }, /sample_size/],
  ['size as text', { sample_size: '32' }, /sample_size/],
  ['size of 10^7', { sample_size: 1e7 }, /sample_size/],
  ['no input', { in_channels: 0 }, /in_channels/],
  ['output true', { out_channels: true }, /out_channels/],
  ['no layers', { layers_per_block: 0 }, /layers_per_block/],
  ['layers of 10^6', { layers_per_block: 1e6 }, /layers_per_block/],
  ['epsilon as text', { norm_eps: '1e-5' }, /norm_eps/],
  ['epsilon negative', { norm_eps: -1 }, /norm_eps/],
  ['padding 2', { downsample_padding: 2 }, /downsample_padding/],
  ['relu', { act_fn: 'relu' }, /act_fn/],
  ['resnet down', { downsample_type: 'resnet' }, /downsample_type/],
  ['scale and shift', { resnet_time_scale_shift: 'scale_shift' }, /resnet_time_scale_shift/],
  ['Fourier time', { time_embedding_type: 'fourier' }, /time_embedding_type/],
  ['class type', { class_embed_type: 'timestep' }, /class_embed_type/],
  ['classes zero', { num_class_embeds: 0 }, /num_class_embeds/],
  ['classes as a list', { num_class_embeds: [10] }, /num_class_embeds/],
  ['flag as a number', { flip_sin_to_cos: 1 }, /flip_sin_to_cos/],
  ['mid block unknown', { mid_block_type: 'UNetMidBlock2DCrossAttn' }, /mid_block_type/],
  ['scale zero', { mid_block_scale_factor: 0 }, /mid_block_scale_factor/],
  ['scale infinite', { mid_block_scale_factor: Infinity }, /mid_block_scale_factor/],
  ['an option that does not exist', { encoder_hid_dim: 8 }, /encoder_hid_dim/],
  ['WGSL in a name', { 'x; fn main() {}': 1 }, /is not an option/],
]; // prettier-ignore

export const HOSTILE_SCHEDULERS: [string, Record<string, unknown>, RegExp][] = [
  ['T zero', { num_train_timesteps: 0 }, /num_train_timesteps/],
  ['T of 10^7', { num_train_timesteps: 1e7 }, /num_train_timesteps/],
  ['T as text', { num_train_timesteps: '1000' }, /num_train_timesteps/],
  ['T null', { num_train_timesteps: null }, /num_train_timesteps/],
  ['beta of 1', { beta_end: 1 }, /beta_end/],
  ['beta of 0', { beta_start: 0 }, /beta_start/],
  ['beta NaN', { beta_start: NaN }, /beta_start/],
  ['beta as text', { beta_start: '1e-4' }, /beta_start/],
  ['schedule unknown', { beta_schedule: 'quadratic' }, /beta_schedule/],
  ['schedule null', { beta_schedule: null }, /beta_schedule/],
  ['trained betas too few', { trained_betas: [0.1] }, /trained_betas/],
  ['trained betas past 1', { num_train_timesteps: 2, trained_betas: [0.1, 1.5] }, /trained_betas/],
  ['trained betas as text', { trained_betas: '0.1' }, /trained_betas/],
  ['prediction unknown', { prediction_type: 'flow' }, /prediction_type/],
  ['clip as text', { clip_sample: 'true' }, /clip_sample/],
  ['clip range zero', { clip_sample_range: 0 }, /clip_sample_range/],
  ['spacing unknown', { timestep_spacing: 'karras' }, /timestep_spacing/],
  ['offset of T', { steps_offset: 1000 }, /steps_offset/],
  ['offset negative', { steps_offset: -1 }, /steps_offset/],
  ['variance learned', { variance_type: 'learned_range' }, /variance_type/],
  ['variance unknown', { variance_type: 'other' }, /variance_type/],
  ['thresholding', { thresholding: true }, /thresholding/],
  ['zero terminal SNR', { rescale_betas_zero_snr: true }, /rescale_betas_zero_snr/],
  ['another class', { _class_name: 'ScoreSdeVeScheduler' }, /_class_name/],
  ['a class from Object', { _class_name: 'constructor' }, /_class_name/],
  ['two spacings of sigmas', { use_karras_sigmas: true, use_beta_sigmas: true }, /use_beta_sigmas/],
  ['alpha as a number', { set_alpha_to_one: 1 }, /set_alpha_to_one/],
]; // prettier-ignore
