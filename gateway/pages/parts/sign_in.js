// The form that signs in, with the accounts of the gateway.

import { element, setShown, setText } from "./elements.js";

/** A form for a session; it is shown while nobody is signed in. */
export function signInForm(session, purpose) {
  const name = requiredInput({ name: "username", autocomplete: "username", maxlength: 64 });
  const password = requiredInput({ name: "password", type: "password", autocomplete: "current-password" });
  const error = element("p", { class: "error", role: "alert", hidden: true });
  const button = element("button", { class: "primary" }, "Sign in");
  const labels = [element("label", {}, "Name", name), element("label", {}, "Password", password)];
  const title = element("h2", { id: "sign-in-title" }, "Sign in");
  const parts = [title, element("p", {}, purpose), ...labels, error, button];
  const form = element("form", { "aria-labelledby": "sign-in-title" }, ...parts);
  const say = (text) => {
    setText(error, text);
    setShown(error, text !== "");
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    say("");
    button.disabled = true;
    await signIn(session, name, password, say);
    button.disabled = false;
  });
  return {
    node: element("main", { class: "sign-in" }, form),
    say,
    focus: () => (name.value ? password : name).focus(),
  };
}

function requiredInput(attributes) {
  return element("input", { required: true, ...attributes });
}

async function signIn(session, name, password, say) {
  try {
    await session.signIn(name.value, password.value);
    password.value = "";
  } catch (error) {
    say(error instanceof TypeError ? "The gateway can't be reached." : error.message);
    password.select();
    password.focus();
  }
}
