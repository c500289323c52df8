// Keeps the page and its runtime for visits without a network. Weights are not here: the runtime keeps them itself, by
// their hashes. The network goes first, so that a new version is seen at once.

const CACHE = 'qwenc-page';
const ROOT = new URL('./', self.location.href);

/** The bundle's files that make up the page, from its manifest. */
async function pageFiles() {
  const response = await fetch(new URL('manifest.json', ROOT), { cache: 'no-cache' });
  const { files } = await response.json();
  const paths = files.map((file) => file.path).filter((path) => belongs(path));
  return ['./', 'manifest.json', 'schedule.json', ...paths].map((path) => new URL(path, ROOT).href);
}

/** @param {string} path in the bundle */
function belongs(path) {
  return path === 'index.html' || path === 'manifest.webmanifest' || path.startsWith('web/');
}

self.addEventListener('install', (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(CACHE);
    const wanted = await pageFiles();
    await cache.addAll(wanted.map((url) => new Request(url, { cache: 'no-cache' })));
    // What an earlier version had.
    const known = new Set(wanted);
    for (const request of await cache.keys()) if (!known.has(request.url)) await cache.delete(request);
    await self.skipWaiting();
  })());
});

self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== 'GET' || request.headers.has('range') || url.origin !== ROOT.origin || !url.pathname.startsWith(ROOT.pathname)) return;
  const path = url.pathname.slice(ROOT.pathname.length);
  if (path !== '' && path !== 'manifest.json' && path !== 'schedule.json' && !belongs(path)) return;
  event.respondWith((async () => {
    const cache = await caches.open(CACHE);
    try {
      const response = await fetch(request);
      if (response.ok && response.type === 'basic') event.waitUntil(cache.put(new URL(path, ROOT).href, response.clone()).catch(() => {}));
      return response;
    } catch (error) {
      const kept = await cache.match(new URL(path, ROOT).href);
      if (kept) return kept;
      throw error;
    }
  })());
});
