// What pages do in the browser: live updates with a pause, relative times, questions before deeds, copying.
// Everything hangs on data- attributes; no page has a script of its own inside.

// --- Live: the server says that something changed, the page draws its main part anew ---------------------------

const live = { source: null, paused: sessionStorage.getItem("relay-paused") === "yes", due: null };
const APART_MS = 700;

const liveMain = () => document.querySelector("main[data-live]");

const showLive = () => {
  for (const button of document.querySelectorAll("[data-live-switch]")) {
    const follows = live.source?.readyState === EventSource.OPEN;
    button.setAttribute("aria-pressed", String(live.paused));
    button.dataset.state = live.paused ? "paused" : follows ? "on" : "off";
    button.querySelector("[data-live-word]").textContent = live.paused ? "Paused" : follows ? "Live" : "Connecting";
    button.title = live.paused ? "Follow what happens" : "Hold this view still";
  }
};

// A view that is being worked in is left alone: ticked rows, an open menu, a filled field.
const isBusy = () =>
  document.querySelector("main input:checked[data-row], main details[data-menu][open], dialog[open]") ||
  document.activeElement?.matches("main input:not([type=checkbox]), main select, main textarea");

const refresh = () => {
  if (live.due) return;
  live.due = setTimeout(() => {
    live.due = null;
    if (liveMain() && !live.paused && !document.hidden && !isBusy()) htmx.trigger(liveMain(), "refresh");
  }, APART_MS);
};

const follow = () => {
  live.source?.close();
  live.source = null;
  if (liveMain() && !live.paused && !document.hidden) {
    live.source = new EventSource("/ui/live");
    live.source.addEventListener("open", showLive);
    live.source.addEventListener("error", showLive);
    live.source.addEventListener("changed", refresh);
  }
  showLive();
};

// A hidden tab holds no connection: browsers allow few to one host.
document.addEventListener("visibilitychange", () => {
  follow();
  refresh();
});
addEventListener("pagehide", () => live.source?.close());
addEventListener("pageshow", (event) => event.persisted && follow());

// --- Relative times --------------------------------------------------------------------------------------------

const UNITS = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]];

const inWords = (apartMs) => {
  const seconds = Math.floor(Math.abs(apartMs) / 1000);
  if (seconds < 1) return "now";
  const [length, name] = UNITS.find(([length]) => seconds >= length);
  const amount = `${Math.floor(seconds / length)} ${name}`;
  return apartMs > 0 ? `${amount} ago` : `in ${amount}`;
};

const ageTimes = () => {
  if (live.paused) return;
  for (const time of document.querySelectorAll("time[data-at]")) {
    time.textContent = inWords(Date.now() - Number(time.dataset.at));
  }
};
setInterval(ageTimes, 5_000);

// --- Clicks: pause, copy, tick all; questions before deeds -----------------------------------------------------

const copy = async (button) => {
  await navigator.clipboard.writeText(button.dataset.copy);
  const word = button.querySelector("span");
  const before = word.textContent;
  word.textContent = "Copied";
  setTimeout(() => { word.textContent = before; }, 1_500);
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-live-switch], [data-copy]");
  if (button?.matches("[data-copy]")) copy(button);
  if (button?.matches("[data-live-switch]")) {
    live.paused = !live.paused;
    sessionStorage.setItem("relay-paused", live.paused ? "yes" : "no");
    follow();
    if (!live.paused) refresh();
  }
});

document.addEventListener("change", (event) => {
  const box = event.target;
  if (box.matches("[data-row-all]")) {
    for (const row of document.querySelectorAll("input[data-row]")) row.checked = box.checked;
  }
  if (box.matches("[data-row], [data-row-all]")) {
    const ticked = document.querySelectorAll("input[data-row]:checked").length;
    for (const word of document.querySelectorAll("[data-row-count]")) word.textContent = String(ticked);
  }
  if (box.matches("[data-submit-on-change]")) box.form.requestSubmit();
});

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
  if (!question || event.target.dataset.confirmed) return;
  event.preventDefault();
  const dialog = document.getElementById("confirm");
  document.getElementById("confirm-text").textContent = question;
  dialog.returnValue = "no";
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "yes") return;
    event.target.dataset.confirmed = "yes";
    event.target.requestSubmit(event.submitter);
  }, { once: true });
  dialog.showModal();
});

document.addEventListener("htmx:after:swap", showLive);
follow();
