/** Frames as a video, encoded by the browser (WebCodecs) and packed by mediabunny. Lossy: for the exact pixels, APNG. */

import {
  BufferTarget,
  canEncodeVideo,
  Mp4OutputFormat,
  Output,
  QUALITY_VERY_HIGH,
  VideoSample,
  VideoSampleSource,
  WebMOutputFormat,
  type VideoCodec,
} from 'mediabunny';
import { toRgba, type Pixels } from '../../core/pixels.ts';
import { DiffusionError, throwIfAborted } from '../../core/errors.ts';

export type VideoFormat = 'webm' | 'mp4';

/** The codecs that a format is written with, the first that this browser encodes. */
const CODECS: Readonly<Record<VideoFormat, readonly VideoCodec[]>> = {
  webm: ['vp9', 'vp8', 'av1'],
  mp4: ['avc', 'hevc', 'av1', 'vp9'],
};

/** What this browser can encode frames of a size as; empty where it has no WebCodecs. */
export async function videoFormats(width: number, height: number): Promise<VideoFormat[]> {
  if (!('VideoEncoder' in globalThis)) return [];
  const formats: VideoFormat[] = [];
  for (const format of ['webm', 'mp4'] as const)
    if (await codecFor(format, even(width), even(height))) formats.push(format);
  return formats;
}

const even = (n: number): number => n + (n % 2); // chroma of video has half the resolution

async function codecFor(format: VideoFormat, width: number, height: number): Promise<VideoCodec | null> {
  for (const codec of CODECS[format])
    if (await canEncodeVideo(codec, { width, height, quality: QUALITY_VERY_HIGH })) return codec;
  return null;
}

export interface VideoOptions {
  readonly format: VideoFormat;
  readonly signal?: AbortSignal;
  /** Frames encoded so far. */
  readonly onProgress?: (frames: number) => void;
}

/**
 * @param frames one or more, of one size; a column or row of black is added where a side is odd
 * @param fps frames per second, 1 to 60
 * @throws bad-input; bad-option where the browser does not encode the format; aborted
 */
export async function video(
  frames: readonly Pixels[],
  fps: number,
  { format, signal, onProgress }: VideoOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  const [first] = frames;
  if (!first || frames.some((f) => f.width !== first.width || f.height !== first.height))
    throw new DiffusionError('bad-input', 'A video needs frames of one size.', 'Give one frame or more.');
  if (!(fps >= 1 && fps <= 60))
    throw new DiffusionError('bad-option', `${fps} frames per second are not possible.`, 'Choose 1 to 60.');
  const [width, height] = [even(first.width), even(first.height)];
  const codec = 'VideoEncoder' in globalThis ? await codecFor(format, width, height) : null;
  if (!codec)
    throw new DiffusionError(
      'bad-option',
      `This browser does not encode ${format === 'mp4' ? 'MP4' : 'WebM'} video.`,
      'Save the animation as APNG instead.',
    );
  const target = new BufferTarget();
  const output = new Output({
    format: format === 'mp4' ? new Mp4OutputFormat() : new WebMOutputFormat(),
    target,
  });
  const source = new VideoSampleSource({ codec, quality: QUALITY_VERY_HIGH });
  output.addVideoTrack(source, { frameRate: fps });
  try {
    await output.start();
    for (const [i, frame] of frames.entries()) {
      throwIfAborted(signal);
      const sample = new VideoSample(rgba(frame, width, height), {
        format: 'RGBX',
        codedWidth: width,
        codedHeight: height,
        timestamp: i / fps,
        duration: 1 / fps,
      });
      await source.add(sample);
      sample.close();
      onProgress?.(i + 1);
    }
    await output.finalize();
  } catch (error) {
    if (output.state !== 'finalized' && output.state !== 'canceled') await output.cancel();
    throw error;
  }
  return new Uint8Array(target.buffer!);
}

/** RGBA at the video's size: black to the right and below, if that is larger. */
function rgba(frame: Pixels, width: number, height: number): Uint8Array<ArrayBuffer> {
  const rows = toRgba(frame);
  if (frame.width === width && frame.height === height) return new Uint8Array(rows.buffer);
  const out = new Uint8Array(width * height * 4);
  for (let y = 0; y < frame.height; y++)
    out.set(rows.subarray(4 * y * frame.width, 4 * (y + 1) * frame.width), 4 * y * width);
  return out;
}
