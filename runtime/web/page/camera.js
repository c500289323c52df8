// A picture from the camera.

import { $ } from './elements.js';

/**
 * Shows the camera and takes a picture. `undefined`: the user did not want one; `unavailable`: there is no camera here, or
 * it may not be used, and the system's own dialog is the way.
 * @returns {Promise<Blob | undefined | 'unavailable'>}
 */
export async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) return 'unavailable';
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment', width: { ideal: 1280 } }, audio: false });
  } catch {
    return 'unavailable';
  }
  const [dialog, video] = [$('camera-dialog'), $('camera-video')];
  video.srcObject = stream;
  dialog.returnValue = '';
  dialog.showModal();
  await video.play().catch(() => {});
  const shot = new AbortController();
  $('camera-shoot').addEventListener('click', () => dialog.close('shot'), { signal: shot.signal });
  $('camera-cancel').addEventListener('click', () => dialog.close(''), { signal: shot.signal });
  await new Promise((resolve) => dialog.addEventListener('close', resolve, { once: true }));
  shot.abort();
  try {
    if (dialog.returnValue !== 'shot' || video.videoWidth === 0) return undefined;
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext('2d')?.drawImage(video, 0, 0);
    return await new Promise((resolve) => canvas.toBlob((blob) => resolve(blob ?? undefined), 'image/png'));
  } finally {
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
  }
}
