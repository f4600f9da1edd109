// Files as the browser hands them over (a field, a drop) → [{path, file}] and the folders that are empty.

export const ARCHIVE = /\.(tar|tar\.(gz|bz2|xz|zst)|tgz|tbz2?|txz)$/i;

export function fromField(input) {
  return [...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

// A drop's items are gone once its event is over, so they are taken out at once; the walk comes after.
export function takeDrop(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  return entries.length ? entries : [...transfer.files];
}

// `onCount` hears how many files there are so far.
export async function walk(taken, onCount) {
  const found = { files: [], folders: [] };
  for (const each of taken) {
    if (each instanceof File) found.files.push({ path: each.name, file: each });
    else await visit(each, each.name, found, onCount);
  }
  return found;
}

async function visit(entry, path, found, onCount) {
  if (entry.isFile) {
    found.files.push({ path, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) });
    if (found.files.length % 500 === 0) onCount(found.files.length);
    return;
  }
  const reader = entry.createReader();
  let some = 0;
  for (;;) {
    // A hundred at a time, until it answers with none.
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!batch.length) break;
    some += batch.length;
    for (const inside of batch) await visit(inside, `${path}/${inside.name}`, found, onCount);
  }
  if (!some) found.folders.push(path);
}

// Without the name of the one folder everything is in; "" when there is no such folder.
export function commonTop({ files, folders }) {
  const paths = [...files.map(({ path }) => path), ...folders.map((path) => `${path}/`)];
  const top = paths[0]?.split("/")[0] ?? "";
  return top && paths.every((path) => path.startsWith(`${top}/`)) ? top : "";
}

export function stripTop(found) {
  const top = commonTop(found);
  if (!top) return found;
  const off = (path) => path.slice(top.length + 1);
  return {
    files: found.files.map(({ path, file }) => ({ path: off(path), file })),
    folders: found.folders.map(off).filter(Boolean),
  };
}
