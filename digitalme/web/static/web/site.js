// What the pages gain from JavaScript. Every one of them works without it.
"use strict";

const COPIED_MS = 2000;
const COUNTDOWN_MS = 30000;

// Buttons that need a script are hidden until there is one.
function enhance(root) {
  for (const button of root.querySelectorAll("[data-copy], [data-reveal]")) button.hidden = false;
}

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  const label = button.querySelector("span");
  const before = label.textContent;
  try {
    await navigator.clipboard.writeText(source.textContent.trim());
    label.textContent = "Copied";
  } catch {
    const range = document.createRange();
    range.selectNodeContents(source);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    label.textContent = "Selected";
  }
  setTimeout(() => { label.textContent = before; }, COPIED_MS);
}

function reveal(button) {
  const input = document.getElementById(button.dataset.reveal);
  const shown = input.type === "text";
  input.type = shown ? "password" : "text";
  button.setAttribute("aria-pressed", String(!shown));
}

document.addEventListener("click", (event) => {
  const copier = event.target.closest("[data-copy]");
  if (copier) copy(copier);
  const revealer = event.target.closest("[data-reveal]");
  if (revealer) reveal(revealer);
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// The same wording as the server's own filter gives.
function untilText(milliseconds) {
  const minutes = Math.max(0, Math.ceil(milliseconds / 60000));
  const days = Math.floor(minutes / 1440);
  const hours = Math.floor((minutes % 1440) / 60);
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes % 60} min`;
  return `${minutes} min`;
}

setInterval(() => {
  for (const time of document.querySelectorAll("time[data-countdown]")) {
    time.textContent = untilText(new Date(time.dateTime) - Date.now());
  }
}, COUNTDOWN_MS);

// What follows the server by itself rests while nobody looks.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && ofLive(event)) event.preventDefault();
});

function ofLive(event) {
  return event.detail.requestConfig.elt.matches("[data-live]");
}

// A refusal does not replace the card it was asked from: it is read out above the page's content.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { status } = event.detail.xhr;
  if (status < 400 || status === 422 || ofLive(event)) return;
  event.detail.shouldSwap = event.detail.xhr.responseText.includes("data-fragment");
  event.detail.target = document.getElementById("notices");
  event.detail.swapOverride = "innerHTML show:#notices:top";
  if (!event.detail.shouldSwap) say("The server could not answer. Load the page again and try once more.");
});
document.addEventListener("htmx:sendError", (event) => ofLive(event) || say("The server cannot be reached. Check your connection."));

function say(text) {
  const notice = document.createElement("p");
  notice.className = "notice bad";
  notice.textContent = text;
  document.getElementById("notices").replaceChildren(notice);
}

// After a part of a page was replaced, the keyboard goes on where the person was.
document.addEventListener("htmx:afterSettle", (event) => {
  enhance(document);
  const wanted = event.detail.elt.querySelector?.("[data-focus]") ?? (event.detail.elt.matches?.("[data-focus]") ? event.detail.elt : null);
  if (wanted) wanted.focus();
});

enhance(document);
