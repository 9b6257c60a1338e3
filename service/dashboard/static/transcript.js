// A transcript in the browser: what a word's time and confidence are, which words are doubtful, and playing along.

const words = document.getElementById("words");
const tip = document.getElementById("tip");
const audio = document.getElementById("audio");
const below = document.getElementById("below");
const tokens = words ? [...words.querySelectorAll(".t")] : [];
const spoken = tokens
  .filter((token) => token.dataset.s !== undefined && !token.closest(".translated"))
  .sort((one, other) => one.dataset.s - other.dataset.s);

const clock = (ms) => {
  const total = Math.floor(ms / 1000);
  const [hours, minutes, seconds] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  const tail = `${String(seconds).padStart(2, "0")}.${String(ms % 1000).padStart(3, "0")}`;
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
};

// --- The word that is pointed at --------------------------------------------------------------------------

const told = ({ s, e, c }) => [
  s === undefined ? "no time" : e === undefined ? clock(Number(s)) : `${clock(Number(s))} – ${clock(Number(e))}`,
  c === undefined ? null : `${(Number(c) * 100).toFixed(1)} % sure`,
].filter(Boolean).join(" · ");

const showTip = (token) => {
  tip.textContent = told(token.dataset);
  tip.hidden = false;
  const place = token.getClientRects()[0];
  const left = Math.min(Math.max(8, place.left), innerWidth - tip.offsetWidth - 8);
  const above = place.top - tip.offsetHeight - 6;
  // Set through the object model, which the page's policy allows; a style attribute in the page it does not.
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 4 ? above : place.bottom + 6}px`;
};

const hideTip = () => { tip.hidden = true; };

let at = null;

const goTo = (token) => {
  at?.classList.remove("at");
  at = token;
  if (!at) return hideTip();
  at.classList.add("at");
  at.scrollIntoView({ block: "nearest" });
  showTip(at);
};

const play = (token) => {
  if (!audio || !token?.dataset.s) return;
  audio.currentTime = Number(token.dataset.s) / 1000;
  audio.play();
};

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

if (words) {
  words.addEventListener("mouseover", (event) => {
    const token = event.target.closest(".t");
    if (token) showTip(token);
  });
  words.addEventListener("mouseleave", hideTip);
  words.addEventListener("click", (event) => {
    const token = event.target.closest(".t");
    if (!token || String(getSelection())) return;
    goTo(token);
    play(token);
  });
  words.addEventListener("keydown", (event) => {
    if (event.target !== words) return;
    if (event.key in STEPS && tokens.length) {
      event.preventDefault();
      const next = at ? tokens.indexOf(at) + STEPS[event.key] : 0;
      goTo(tokens[Math.min(Math.max(next, 0), tokens.length - 1)]);
    }
    if (event.key === "Enter") play(at);
    if (event.key === "Escape") goTo(null);
  });
  words.addEventListener("blur", hideTip);
  addEventListener("scroll", hideTip, { passive: true });
}

// The address may name a moment: that word is shown.
const wanted = Number(new URLSearchParams(location.search).get("at") ?? NaN);
if (!Number.isNaN(wanted) && spoken.length) {
  const found = spoken.find((token) => Number(token.dataset.e ?? token.dataset.s) > wanted) ?? spoken.at(-1);
  at = found;
  at.classList.add("at");
  at.scrollIntoView({ block: "center" });
}

// --- Doubtful words -----------------------------------------------------------------------------------------

const markDoubtful = () => {
  const limit = Number(below.value);
  let low = 0;
  for (const token of tokens) {
    const doubtful = token.dataset.c !== undefined && Number(token.dataset.c) < limit;
    token.classList.toggle("low", doubtful);
    low += doubtful;
  }
  document.getElementById("below-word").textContent = `${Math.round(limit * 100)} %`;
  document.getElementById("low-count").textContent = tokens.length ? `${low} of ${tokens.length} here` : "";
};

// The view stays a link: its address, and those of its neighbours, follow the slider.
const keepInAddress = () => {
  const rewritten = (address) => {
    const url = new URL(address);
    url.searchParams.set("below", below.value);
    return url;
  };
  history.replaceState(null, "", rewritten(location.href));
  for (const link of document.querySelectorAll("a[data-keeps]")) link.href = rewritten(link.href);
  for (const copy of document.querySelectorAll("[data-below-copy]")) copy.value = below.value;
};

below?.addEventListener("input", markDoubtful);
below?.addEventListener("change", keepInAddress);
if (below) markDoubtful();

// --- The word that is being said ------------------------------------------------------------------------------

let now = null;

const sayingAt = (ms) => {
  let [low, high] = [0, spoken.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (Number(spoken[middle].dataset.s) <= ms) low = middle;
    else high = middle - 1;
  }
  return spoken[low];
};

audio?.addEventListener("timeupdate", () => {
  if (!spoken.length) return;
  const saying = sayingAt(audio.currentTime * 1000);
  if (saying === now) return;
  now?.classList.remove("now");
  now = saying;
  now.classList.add("now");
});
