import { Qwen } from 'qwenc';

// Where the bundle is: `qwenc serve out/ --allow-origin http://localhost:5173` while developing, a folder of the site later.
const address = new URL(import.meta.env.VITE_MODEL ?? 'http://localhost:8080/', document.baseURI);
const [status, form, button, question, picture, output] =
  ['#status', 'form', 'button', '#question', '#picture', 'output'].map((selector) => document.querySelector(selector));

try {
  const model = await Qwen.load(address, {
    onProgress: ({ phase, loaded, total }) => { status.textContent = `${phase}: ${Math.round((loaded / total) * 100)} %`; },
    onNotice: ({ message }) => { if (message) status.textContent = message; },
  });
  status.textContent = `${model.info.name} on ${model.info.device}`;
  button.disabled = false;
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    button.disabled = true;
    output.textContent = '';
    try {
      const stream = await model.chat.completions.create({
        messages: [{
          role: 'user',
          content: [
            ...(picture.files[0] ? [{ type: 'image_url', image_url: { url: URL.createObjectURL(picture.files[0]) } }] : []),
            { type: 'text', text: question.value },
          ],
        }],
        max_tokens: 64,
        temperature: 0,
        stream: true,
      });
      for await (const chunk of stream) output.textContent += chunk.choices[0]?.delta.content ?? '';
      output.dataset.done = 'true';
    } catch (error) {
      output.textContent = `${error.message} ${error.remedy ?? ''}`;
    }
    button.disabled = false;
  });
} catch (error) {
  status.textContent = `${error.message} ${error.remedy ?? ''}`;
}
