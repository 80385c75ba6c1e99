// A page that signs in, submits an ECG, shows its result and follows the events; see docs/clients.md.

import { Isoline } from "./isoline.js";

const [signIn, submit, problem, result, events] = ["sign-in", "submit", "problem", "result", "events"].map((id) =>
  document.getElementById(id),
);
const shown = new Set();
let isoline = null;

onSubmit(signIn, async ({ address, user, password }) => {
  isoline = new Isoline(address);
  await isoline.signIn(user, password);
  follow(await isoline.eventCursor());
  signIn.hidden = true;
  submit.hidden = false;
  submit.elements.ecg.focus();
});

onSubmit(submit, async ({ ecg }) => {
  result.textContent = "Submitting…";
  const receipt = await isoline.submit(JSON.parse(ecg));
  result.textContent = `${receipt.id} is ${receipt.status}.`;
  result.textContent = JSON.stringify(await isoline.result(receipt.id), null, 2);
});

/** Show each event after a cursor once: one may come twice. */
async function follow(cursor) {
  try {
    for await (const event of isoline.events(cursor)) {
      if (shown.has(event.id)) continue;
      shown.add(event.id);
      const line = document.createElement("li");
      line.textContent = `${event.time} ${event.type} ${event.data.id}`;
      events.prepend(line);
    }
  } catch (error) {
    problem.textContent = `No more events: ${sentence(error)}`;
  }
}

/** Do something with the fields of a form when it is sent, and tell what goes wrong. */
function onSubmit(form, action) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    problem.textContent = "";
    try {
      await action(Object.fromEntries(new FormData(form)));
    } catch (error) {
      problem.textContent = sentence(error);
      if (form === submit) result.textContent = "None.";
    } finally {
      button.disabled = false;
    }
  });
}

function sentence(error) {
  if (!(error instanceof TypeError)) return error.message;
  return `No answer. Is the gateway there, and does its ISOLINE_CORS_ORIGINS name ${location.origin}?`;
}
