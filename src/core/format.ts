/** Numbers of bytes in words. */

/** The size of a file or a download, in decimal units: "980 kB", "1.4 MB", "12 MB", "1.3 GB". */
export function megabytes(bytes: number): string {
  if (bytes < 1e5) return `${Math.ceil(bytes / 1000)} kB`;
  if (bytes < 1e9) return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

/** The size of GPU memory, in binary units, as the limits of a GPU are: "1.0 MiB", "9.5 GiB". */
export function mebibytes(bytes: number): string {
  return bytes < 2 ** 33 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}
