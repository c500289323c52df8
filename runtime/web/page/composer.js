// Where a question is written, and pictures are collected: from files, the clipboard, a drop, the camera.

import { openCamera } from './camera.js';
import { $, announce, h, icon } from './elements.js';

const MAX_PICTURES = 8;

/** @typedef {{file: Blob, url: string, name: string}} Picture */

export class Composer {
  /** @param {{onSend: (text: string, pictures: Picture[], thinking: boolean) => void, onStop: () => void}} handlers */
  constructor({ onSend, onStop }) {
    /** @type {Picture[]} */
    this.pictures = [];
    this.busy = false;
    this.takesPictures = true;
    this.question = $('question');
    $('attach').append(icon('attach'));
    $('camera').append(icon('camera'));
    this.send = $('send');
    this.setBusy(false);

    $('composer').addEventListener('submit', (/** @type {Event} */ event) => {
      event.preventDefault();
      if (this.busy) {
        onStop();
        return;
      }
      const text = this.question.value.trim();
      if (text === '' && this.pictures.length === 0) {
        this.question.focus();
        return;
      }
      const { pictures } = this;
      this.pictures = [];
      this.question.value = '';
      this.grow();
      this.draw();
      onSend(text, pictures, this.thinking);
    });
    this.question.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
      // Not while a word is being composed with an input method.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing || this.busy) return;
      event.preventDefault();
      $('composer').requestSubmit();
    });
    document.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && this.busy && !document.querySelector('dialog[open]')) onStop();
    });
    this.question.addEventListener('input', () => this.grow());
    $('thinking').addEventListener('click', () => $('thinking').setAttribute('aria-pressed', String(!this.thinking)));
    $('attach').addEventListener('click', () => $('file').click());
    $('camera').addEventListener('click', async () => {
      const picture = await openCamera();
      if (picture === 'unavailable') $('capture').click();
      else if (picture) this.add([picture]);
      this.question.focus();
    });
    for (const id of ['file', 'capture']) {
      $(id).addEventListener('change', () => {
        this.add([...$(id).files]);
        $(id).value = '';
        this.question.focus();
      });
    }
    document.addEventListener('paste', (event) => {
      const files = [...(event.clipboardData?.files ?? [])].filter(isPicture);
      if (files.length === 0 || !this.takesPictures) return;
      event.preventDefault();
      this.add(files);
    });
    this.listenForDrops();
  }

  get thinking() {
    return $('thinking').getAttribute('aria-pressed') === 'true';
  }

  listenForDrops() {
    const carriesFiles = (/** @type {DragEvent} */ event) => this.takesPictures && !$('composer').hidden && event.dataTransfer?.types.includes('Files');
    document.addEventListener('dragover', (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      $('drop').hidden = false;
    });
    document.addEventListener('dragleave', (event) => {
      if (event.relatedTarget === null) $('drop').hidden = true;
    });
    document.addEventListener('drop', (event) => {
      $('drop').hidden = true;
      if (!carriesFiles(event)) return;
      event.preventDefault();
      this.add([...(event.dataTransfer?.files ?? [])].filter(isPicture));
    });
  }

  /** @param {boolean} takes whether the model sees */
  setTakesPictures(takes) {
    this.takesPictures = takes;
    $('attach').hidden = !takes;
    $('camera').hidden = !takes;
  }

  /** @param {boolean} busy while an answer comes, the button stops it */
  setBusy(busy) {
    this.busy = busy;
    this.send.replaceChildren(icon(busy ? 'stop' : 'send'));
    this.send.setAttribute('aria-label', busy ? 'Stop' : 'Send');
    this.send.title = busy ? 'Stop (Escape)' : 'Send (Enter)';
    this.send.classList.toggle('stopping', busy);
  }

  /** @param {Blob[]} files */
  add(files) {
    const room = MAX_PICTURES - this.pictures.length;
    for (const file of files.slice(0, room)) {
      this.pictures.push({ file, url: URL.createObjectURL(file), name: /** @type {File} */ (file).name || `picture ${this.pictures.length + 1}` });
    }
    if (files.length > room) announce(`At most ${MAX_PICTURES} pictures at once.`);
    else if (files.length > 0) announce(files.length === 1 ? 'Picture added.' : `${files.length} pictures added.`);
    this.draw();
  }

  /** @param {string} text @param {Blob[]} [files] */
  fill(text, files = []) {
    this.question.value = text;
    this.grow();
    this.add(files);
    this.question.focus();
  }

  draw() {
    $('pictures').replaceChildren(...this.pictures.map((picture, index) => h('li', {},
      h('img', { src: picture.url, alt: picture.name }),
      h('button', {
        type: 'button', className: 'remove', 'aria-label': `Remove ${picture.name}`,
        onclick: () => {
          URL.revokeObjectURL(picture.url);
          this.pictures.splice(index, 1);
          this.draw();
          this.question.focus();
        },
      }, icon('close')))));
  }

  /** As high as its text, up to a limit of the style. */
  grow() {
    this.question.style.height = 'auto';
    this.question.style.height = `${this.question.scrollHeight}px`;
  }
}

/** @param {File} file */
const isPicture = (file) => file.type.startsWith('image/');
