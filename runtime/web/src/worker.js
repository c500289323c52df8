// The worker: the host behind a message port, so that nothing of a model's work is on the page's thread.

import { openCpu } from './cpu/open.js';
import { loadEngine } from './engine.js';
import { Host } from './host.js';
import { serve } from './rpc.js';

/** @type {Host} */
const host = new Host({ engine: () => loadEngine(), gpu: navigator.gpu, openCpu }, (notice) => server.notify(notice));
const server = serve(/** @type {any} */ (self), host.methods());
