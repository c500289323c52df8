// Files in the origin private file system. In a worker a file is appended to in place, so that what has arrived is there
// after a crash; elsewhere it is written through a copy, which is there once it is closed.
//
// No file is read as a stream: Chromium (156 at least) now and then never fills a buffer that a file's stream was given, and
// buffers of its own make hundreds of megabytes of garbage.

/** @typedef {import('./store.js').Store} Store @typedef {import('./store.js').Writer} Writer */

const FOLDER = 'qwenc';
/** Bytes that are read at a time. */
const PIECE = 1 << 20;

/** @implements {Store} */
export class OpfsStore {
  /** @param {FileSystemDirectoryHandle} folder */
  constructor(folder) {
    this.kind = /** @type {const} */ ('opfs');
    this.persistent = true;
    this.folder = folder;
  }

  /** The store of this origin; throws where there is none. @param {StorageManager} [storage] */
  static async open(storage = navigator.storage) {
    const root = await storage.getDirectory();
    return new OpfsStore(await root.getDirectoryHandle(FOLDER, { create: true }));
  }

  /** @param {string} key @returns {Promise<FileSystemFileHandle | undefined>} */
  async find(key) {
    try {
      return await this.folder.getFileHandle(key);
    } catch (error) {
      if (/** @type {DOMException} */ (error).name === 'NotFoundError') return undefined;
      throw error;
    }
  }

  /** @param {string} key */
  async size(key) {
    const handle = await this.find(key);
    return handle ? (await handle.getFile()).size : 0;
  }

  /** @param {string} key @returns {AsyncGenerator<Uint8Array>} */
  async *read(key) {
    const handle = await this.find(key);
    if (!handle) return;
    const access = await openToRead(handle);
    yield* access ? inPlace(access) : slices(await handle.getFile());
  }

  /** @param {string} key @returns {Promise<Writer>} */
  async append(key) {
    const handle = await this.folder.getFileHandle(key, { create: true });
    if (!('createSyncAccessHandle' in handle)) return appendByCopy(handle);
    const access = await /** @type {any} */ (handle).createSyncAccessHandle();
    let at = access.getSize();
    return {
      async write(chunk) {
        for (let done = 0; done < chunk.length;) {
          const written = access.write(chunk.subarray(done), { at });
          // Some browsers write less than asked for when the disk is full.
          if (written === 0) throw new DOMException('no space is left', 'QuotaExceededError');
          done += written;
          at += written;
        }
      },
      async close() {
        access.flush();
        access.close();
      },
    };
  }

  /** @param {string} key @param {Uint8Array} bytes */
  async put(key, bytes) {
    await this.remove(key);
    const writer = await this.append(key);
    try {
      await writer.write(bytes);
    } finally {
      await writer.close();
    }
  }

  /** @param {string} key */
  async remove(key) {
    if (await this.find(key)) await this.folder.removeEntry(key);
  }

  async keys() {
    const keys = [];
    for await (const key of /** @type {any} */ (this.folder).keys()) keys.push(key);
    return keys;
  }
}

/**
 * What reads a file in place, beside other readers; nothing outside of workers, and while another tab writes the file or, where
 * browsers know no shared access, reads it.
 * @param {any} handle @returns {Promise<any>}
 */
async function openToRead(handle) {
  return handle.createSyncAccessHandle?.({ mode: 'read-only' }).catch(() => undefined);
}

/** A piece is valid until the next one is asked for. @param {any} access @returns {AsyncGenerator<Uint8Array, void, undefined>} */
async function* inPlace(access) {
  try {
    const piece = new Uint8Array(Math.min(access.getSize(), PIECE));
    for (let at = 0; ;) {
      const read = access.read(piece, { at });
      if (read === 0) return;
      at += read;
      yield piece.subarray(0, read);
    }
  } finally {
    access.close();
  }
}

/** @param {Blob} file @returns {AsyncGenerator<Uint8Array, void, undefined>} */
async function* slices(file) {
  for (let at = 0; at < file.size; at += PIECE) yield new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer());
}

/** @param {FileSystemFileHandle} handle @returns {Promise<Writer>} */
async function appendByCopy(handle) {
  const at = (await handle.getFile()).size;
  const stream = await handle.createWritable({ keepExistingData: true });
  await stream.seek(at);
  return { write: (chunk) => stream.write(/** @type {any} */ (chunk)), close: () => stream.close() };
}
