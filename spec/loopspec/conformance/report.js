"use strict";
// Hides and shows; everything is in the page already. The state of the filters is the form's own.

const root = document.documentElement;
const form = document.getElementById("filters");
const bodies = [...document.querySelectorAll("#matrix tbody")];
const rows = [...document.querySelectorAll("tr.clause")];
const about = (row) => document.getElementById("about-" + row.id);
const opener = (row) => row.querySelector(".open");

root.classList.add("script");

function open(row, wanted) {
  opener(row).setAttribute("aria-expanded", String(wanted));
  about(row).hidden = !wanted || row.hidden;
}

function isOpen(row) {
  return opener(row).getAttribute("aria-expanded") === "true";
}

function filter() {
  const words = document.getElementById("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const area = document.getElementById("area").value;
  const level = document.getElementById("level").value;
  const verdicts = [...form.querySelectorAll("[name=verdict]:checked")].map((box) => box.value);
  for (const row of rows) {
    const text = row.id.toLowerCase() + " " + row.dataset.words;
    const wanted =
      words.every((word) => text.includes(word)) &&
      (!area || row.id.startsWith(area + ".")) &&
      (!level || row.dataset.level === level) &&
      row.dataset.verdicts.split(" ").some((verdict) => verdicts.includes(verdict));
    row.hidden = !wanted;
    about(row).classList.toggle("filtered", !wanted);
    about(row).hidden = !wanted || !isOpen(row);
  }
  for (const body of bodies) body.hidden = !body.querySelector("tr.clause:not([hidden])");
  const shown = rows.filter((row) => !row.hidden).length;
  document.getElementById("count").value = `${shown} of ${rows.length} clauses`;
}

function show(run) {
  const example = document.getElementById(run);
  const row = example.closest("tr").previousElementSibling;
  open(row, true);
  example.open = true;
  example.scrollIntoView({ block: "start" });
  example.querySelector("summary").focus({ preventScroll: true });
}

function copy(button) {
  const command = button.parentElement.querySelector(".command");
  const chosen = document.createRange();
  chosen.selectNodeContents(command);
  getSelection().removeAllRanges();
  getSelection().addRange(chosen);
  // A page opened from a disk may not be let near the clipboard: then what is selected can be copied by hand.
  const copied = navigator.clipboard ? navigator.clipboard.writeText(command.textContent) : Promise.reject();
  copied.then(() => "Copied", () => "Selected: press Ctrl+C").then((word) => { button.textContent = word; });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.matches(".open")) open(button.closest("tr"), !isOpen(button.closest("tr")));
  if (button.matches(".show")) show(button.dataset.run);
  if (button.matches(".copy")) copy(button);
});

// Up and down go from clause to clause, Escape closes, a slash goes to the search.
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input[type=search], select");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    document.getElementById("find").focus();
    return;
  }
  if (typing) return;
  const shown = rows.filter((row) => !row.hidden);
  const row = event.target.closest("tr.clause") ?? event.target.closest("tr.about")?.previousElementSibling;
  if (event.key === "Escape" && row) {
    open(row, false);
    opener(row).focus();
    return;
  }
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && row && event.target.matches(".open, .show")) {
    event.preventDefault();
    const next = shown[shown.indexOf(row) + step];
    if (next) opener(next).focus();
  }
});

function goTo() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.matches("tr.clause")) {
    open(target, true);
    target.scrollIntoView();
  }
  if (target?.matches("details.example")) show(target.id);
}

form.addEventListener("input", filter);
form.addEventListener("reset", () => setTimeout(filter));
form.addEventListener("submit", (event) => event.preventDefault());
window.addEventListener("hashchange", goTo);
for (const row of rows) open(row, false);
filter();
goTo();
