// Dialogs that ask before something is done.

import { element, setShown, setText } from "./elements.js";

/**
 * Ask for a reason and do it; what `act(reason)` returned, or null if it was called off.
 *
 * A failure of `act` is said in the dialog, which stays, so that it can be tried again.
 */
export function confirmAction({ title, details = [], label, isDangerous = false, act }) {
  const reason = element("input", { name: "why", required: true, maxlength: 1000, autocomplete: "off" });
  const error = element("p", { class: "error", role: "alert", hidden: true });
  const button = element("button", { class: isDangerous ? "danger" : "primary" }, label);
  const cancel = element("button", { type: "button" }, "Cancel");
  const heading = element("h2", { id: "dialog-title" }, title);
  const field = element("label", {}, "Reason, kept in the audit with your name", reason);
  const buttons = element("div", { class: "buttons" }, cancel, button);
  const form = element("form", {}, heading, ...details, field, error, buttons);
  const dialog = element("dialog", { "aria-labelledby": "dialog-title" }, form);
  cancel.addEventListener("click", () => dialog.close());
  return opened(dialog, form, async () => {
    setShown(error, false);
    button.disabled = true;
    try {
      return await act(reason.value.trim());
    } catch (failure) {
      setText(error, failure.message);
      setShown(error, true);
      return null;
    } finally {
      button.disabled = false;
    }
  });
}

/** Show a dialog until its form's submission gives a result, or it is closed; then the focus goes back. */
function opened(dialog, form, submit) {
  const focused = document.activeElement;
  document.body.append(dialog);
  dialog.showModal();
  form.querySelector("input")?.focus();
  return new Promise((resolve) => {
    let result = null;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      result = await submit();
      if (result !== null) dialog.close();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      focused?.focus?.();
      resolve(result);
    });
  });
}
