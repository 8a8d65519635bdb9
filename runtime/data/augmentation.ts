/**
 * Which random changes training examples get (`--augment`), read from the user's words and checked against the model.
 */
import type { Manifest } from '../../ir/artifact.js';
import { augmentationNeedsImages, badAugmentation, mixupNeedsSoftLabels } from '../../ir/diagnostics/data.js';
import { dataInput } from './dataset.js';

/** In the order in which they are applied. */
export interface Augmentation {
  /** Mirrors an image with probability 1/2. */
  readonly flip?: boolean;
  /** Moves an image by up to so many pixels each way; what comes in from outside is 0, after normalisation. */
  readonly crop?: number;
  /** alpha of running mixup (SP-NGD eq 18-20). */
  readonly mixup?: number;
  /** Sets a rectangle to 0 with this probability (SP-NGD 6.1). */
  readonly erase?: number;
}

/**
 * Reads `flip,crop:4,mixup:0.4,erase:0.5`, in any order, or `none`. UserError E330 where it says something else, E331 where the model takes no
 * images [C,H,W], E332 where mixup lacks soft labels.
 */
export function parseAugmentation(text: string, manifest: Manifest): Augmentation {
  const found: { -readonly [K in keyof Augmentation]: Augmentation[K] } = {};
  if (text.trim() === 'none') return found;
  for (const part of text.split(',').map((p) => p.trim())) {
    const [name, value, ...more] = part.split(':');
    const number = value === undefined || value.trim() === '' ? Number.NaN : Number(value);
    const fits = (ok: boolean): void => {
      if (!ok || more.length > 0 || name in found) throw badAugmentation(text, part);
    };
    if (name === 'flip') {
      fits(value === undefined);
      found.flip = true;
    } else if (name === 'crop') {
      fits(Number.isInteger(number) && number > 0);
      found.crop = number;
    } else if (name === 'mixup') {
      fits(number > 0 && Number.isFinite(number));
      found.mixup = number;
    } else if (name === 'erase') {
      fits(number > 0 && number <= 1);
      found.erase = number;
    } else throw badAugmentation(text, part);
  }
  check(found, manifest);
  return found;
}

/** The changes that a preset asks for: alpha of running mixup, which is nothing where labels are numbers of classes. */
export function presetAugmentation(mixup: number, manifest: Manifest): Augmentation | undefined {
  return mixup > 0 && canMix(manifest) ? { mixup } : undefined;
}

/** Whether examples and labels are numbers whose means have a meaning. */
export const canMix = (manifest: Manifest): boolean =>
  dataInput(manifest).dtype === 'f32' && manifest.loss.target?.dtype === 'f32';

/** As the user would write it. */
export function describeAugmentation({ flip, crop, mixup, erase }: Augmentation): string {
  const numbers = Object.entries({ crop, mixup, erase }).filter(([, v]) => v !== undefined);
  return [...(flip ? ['flip'] : []), ...numbers.map(([name, v]) => `${name}:${v}`)].join(',');
}

function check({ flip, crop, erase, mixup }: Augmentation, manifest: Manifest): void {
  const { name, dtype, shape } = dataInput(manifest);
  const own = shape.slice(1);
  const [channels, , last] = own;
  // Channels that come last would be mirrored as if they were columns.
  const isImage = own.length === 3 && dtype !== 'i32' && !(last <= 4 && channels > 4);
  if ((flip || crop !== undefined || erase !== undefined) && !isImage)
    throw augmentationNeedsImages(name, dtype, own, flip ? 'flip' : crop === undefined ? 'erase' : 'crop');
  if (crop !== undefined && crop >= Math.min(own[1], own[2]))
    throw badAugmentation(`crop:${crop}`, `crop:${crop} (of images of ${own[1]} x ${own[2]})`);
  const { target } = manifest.loss;
  if (mixup !== undefined && (dtype !== 'f32' || target?.dtype !== 'f32')) throw mixupNeedsSoftLabels(dtype);
}
