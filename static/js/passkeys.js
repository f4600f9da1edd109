// Passkeys (WebAuthn): asks the browser, and sends its answer with the form.
//   <form data-passkey="get" data-options='{"publicKey": …}'>    prove who one is
//   <form data-passkey="create" data-options='…'>                make a new one
//   <form data-passkey="get" data-options-from="URL">            fetch what to ask for when the button is pressed
// In it: <input type="hidden" name="credential">, a button, and [data-passkey-says] for what went wrong. A form with
// `hidden` shows itself where the browser can do it.

function bytes(text) {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}

function text(buffer) {
  const plain = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(plain).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// What JSON has as text and the browser wants as bytes: the challenge, and the ids of people and keys (not of the site).
function decoded({ publicKey }) {
  const key = ({ id, ...rest }) => ({ ...rest, id: bytes(id) });
  const options = { ...publicKey, challenge: bytes(publicKey.challenge) };
  if (options.user) options.user = key(options.user);
  for (const list of ["excludeCredentials", "allowCredentials"]) {
    if (options[list]) options[list] = options[list].map(key);
  }
  return { publicKey: options };
}

function encoded(credential) {
  const { response } = credential;
  const said = { clientDataJSON: text(response.clientDataJSON) };
  if (response.attestationObject) {
    said.attestationObject = text(response.attestationObject);
    said.transports = response.getTransports?.() ?? [];
  } else {
    said.authenticatorData = text(response.authenticatorData);
    said.signature = text(response.signature);
    said.userHandle = response.userHandle && text(response.userHandle);
  }
  return {
    id: credential.id,
    rawId: text(credential.rawId),
    type: credential.type,
    response: said,
    clientExtensionResults: credential.getClientExtensionResults(),
  };
}

async function optionsOf(form) {
  if (!form.dataset.optionsFrom) return JSON.parse(form.dataset.options);
  const answer = await fetch(form.dataset.optionsFrom, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error(`expected an answer, found status ${answer.status}`);
  return answer.json();
}

function explained(error) {
  if (error.name === "NotAllowedError") return "Nothing was chosen, or it took too long. Try again.";
  if (error.name === "InvalidStateError") return "This device has a passkey for your account already.";
  if (error.name === "SecurityError") {
    return "Passkeys need a name instead of an IP address: open Gantry by its name with https://, or as http://localhost.";
  }
  return `The passkey could not be used: ${error.message}`;
}

async function ask(form) {
  const says = form.querySelector("[data-passkey-says]");
  const button = form.querySelector("button[type=submit]");
  says.hidden = true;
  button.disabled = true;
  try {
    const options = decoded(await optionsOf(form));
    const credential = await navigator.credentials[form.dataset.passkey](options);
    form.elements.credential.value = JSON.stringify(encoded(credential));
    form.submit();
  } catch (error) {
    says.textContent = explained(error);
    says.hidden = false;
    button.disabled = false;
  }
}

if (window.PublicKeyCredential) {
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      ask(form);
    });
  }
}
