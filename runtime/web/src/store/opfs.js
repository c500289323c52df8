// Files in the origin private file system. In a worker a file is appended to in place, so that what has arrived is there
// after a crash; elsewhere it is written through a copy, which is there once it is closed.

import { chunks } from '../chunks.js';

/** @typedef {import('./store.js').Store} Store @typedef {import('./store.js').Writer} Writer */

const FOLDER = 'qwenc';

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
    if (handle) yield* chunks((await handle.getFile()).stream());
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

/** @param {FileSystemFileHandle} handle @returns {Promise<Writer>} */
async function appendByCopy(handle) {
  const at = (await handle.getFile()).size;
  const stream = await handle.createWritable({ keepExistingData: true });
  await stream.seek(at);
  return { write: (chunk) => stream.write(/** @type {any} */ (chunk)), close: () => stream.close() };
}
