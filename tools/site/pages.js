// The contents of each page, search, and buttons that copy code. This script replaces pkgdown's own,
// which loads seven libraries from the network.
"use strict";

(() => {
  const headings = [...document.querySelectorAll("main h2, main h3")].filter(
    (heading) => !heading.hasAttribute("data-toc-skip") && targetOf(heading),
  );

  // pkgdown puts the id on the heading or on the section around it.
  function targetOf(heading) {
    return heading.id || heading.closest("[id]:not(main)")?.id;
  }

  function textOf(heading) {
    return heading.textContent.trim();
  }

  function make(tag, properties = {}, children = []) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  /* Contents --------------------------------------------------------------- */

  function linkTo(heading) {
    const href = `#${encodeURIComponent(targetOf(heading))}`;
    return make("a", { className: "nav-link", href, textContent: textOf(heading) });
  }

  // The list of the second-level headings, each with a list of those below it.
  function listOfHeadings() {
    const list = make("ul", { className: "nav flex-column" });
    for (const heading of headings) {
      const entry = make("li", {}, [linkTo(heading)]);
      if (heading.tagName === "H2" || !list.lastElementChild) {
        list.append(entry);
      } else {
        const above = list.lastElementChild;
        if (!above.querySelector("ul")) above.append(make("ul", { className: "nav flex-column" }));
        above.querySelector("ul").append(entry);
      }
    }
    return list;
  }

  // On a narrow screen the contents come before the text, folded.
  function foldedContents() {
    const title = make("summary", { textContent: "On this page" });
    return make("details", { className: "contents d-md-none" }, [title, listOfHeadings()]);
  }

  function markCurrent(links) {
    const passed = headings.filter((heading) => heading.getBoundingClientRect().top < 80);
    const current = passed.at(-1);
    for (const link of links) {
      const active = current !== undefined && link.hash === `#${encodeURIComponent(targetOf(current))}`;
      link.classList.toggle("active", active);
      if (active) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  function addContents() {
    const place = document.getElementById("toc");
    if (!place || headings.length < 2) return;
    place.append(listOfHeadings());
    document.querySelector("main .page-header")?.after(foldedContents());
    const links = [...place.querySelectorAll("a")];
    let waiting = false;
    const update = () => {
      waiting = false;
      markCurrent(links);
    };
    document.addEventListener("scroll", () => {
      if (!waiting) requestAnimationFrame(update);
      waiting = true;
    });
    update();
  }

  /* Search ----------------------------------------------------------------- */

  const LARGEST_LIST = 20;

  // The sections of all pages come from a script, because pages on a disk may not fetch data.
  function loadIndex(root) {
    loadIndex.promise ??= new Promise((resolve, reject) => {
      const script = make("script", { src: `${root}search-index.js` });
      script.onload = () => resolve(window.kerasgdSearchIndex);
      script.onerror = reject;
      document.head.append(script);
    });
    return loadIndex.promise;
  }

  // A word counts most in a heading, then in code, then in the text; all words must be there.
  function score(section, words) {
    const fields = [
      [section.what, 100],
      [section.title, 40],
      [section.code, 5],
      [section.text, 1],
    ].map(([field, weight]) => [field.toLowerCase(), weight]);
    let sum = 0;
    for (const word of words) {
      const weights = fields.filter(([field]) => field.includes(word)).map(([, weight]) => weight);
      if (weights.length === 0) return 0;
      sum += weights.reduce((a, b) => a + b);
      if (fields[0][0] === word) sum += 200;
    }
    return sum;
  }

  function find(index, query) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    return index
      .map((section) => ({ section, score: score(section, words) }))
      .filter((found) => found.score > 0)
      .sort((a, b) => b.score - a.score)
      .slice(0, LARGEST_LIST)
      .map((found) => ({ ...found.section, words }));
  }

  // The text around the first of the words, with every word marked.
  function excerpt(text, words) {
    const lower = text.toLowerCase();
    const places = words.map((word) => lower.indexOf(word)).filter((place) => place >= 0);
    if (places.length === 0) return [];
    const start = Math.max(0, Math.min(...places) - 40);
    const part = text.slice(start, start + 140);
    const pattern = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
    const pieces = part.split(new RegExp(`(${pattern})`, "i"));
    return [start > 0 ? "… " : "", ...pieces.map((piece, i) => (i % 2 ? make("mark", { textContent: piece }) : piece)), " …"];
  }

  function resultOf(section, number, root) {
    const where = [...new Set([section.dir, section.title, section.what])].filter(Boolean);
    const link = make("a", { id: `search-result-${number}`, role: "option", href: root + section.path }, [
      make("strong", { textContent: where.pop() }),
      make("span", { className: "where", textContent: where.join(" › ") }),
      make("span", { className: "excerpt" }, excerpt(section.text || section.code, section.words)),
    ]);
    link.tabIndex = -1;
    return link;
  }

  function addSearch() {
    const input = document.getElementById("search-input");
    if (!input) return;
    const root = input.dataset.searchIndex.replace(/search\.json$/, "");
    const menu = make("div", { id: "search-results", role: "listbox", hidden: true });
    menu.setAttribute("aria-label", "Search results");
    const attributes = { role: "combobox", "aria-label": "Search", "aria-controls": menu.id, "aria-expanded": "false", "aria-autocomplete": "list" };
    for (const [name, value] of Object.entries(attributes)) input.setAttribute(name, value);
    input.after(menu);
    let chosen = -1;

    function close() {
      menu.hidden = true;
      input.setAttribute("aria-expanded", "false");
      input.removeAttribute("aria-activedescendant");
    }

    function choose(number) {
      const results = [...menu.querySelectorAll("a")];
      if (results.length === 0) return;
      chosen = (number + results.length) % results.length;
      results.forEach((result, i) => result.setAttribute("aria-selected", String(i === chosen)));
      results[chosen].scrollIntoView({ block: "nearest" });
      input.setAttribute("aria-activedescendant", results[chosen].id);
    }

    async function show() {
      const query = input.value.trim();
      if (query.length < 2) return close();
      const index = await loadIndex(root);
      if (query !== input.value.trim()) return undefined;
      const found = find(index, query);
      const none = make("p", { textContent: `Nothing found for “${query}”.` });
      menu.replaceChildren(...(found.length > 0 ? found.map((section, i) => resultOf(section, i, root)) : [none]));
      menu.hidden = false;
      input.setAttribute("aria-expanded", "true");
      choose(0);
      return undefined;
    }

    input.form.addEventListener("submit", (event) => event.preventDefault());
    input.addEventListener("focus", () => loadIndex(root));
    input.addEventListener("input", show);
    input.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") choose(chosen + 1);
      else if (event.key === "ArrowUp") choose(chosen - 1);
      else if (event.key === "Enter") menu.querySelector("[aria-selected=true]")?.click();
      else if (event.key === "Escape") close();
      else return;
      event.preventDefault();
    });
    // A result on the current page only scrolls to another place.
    menu.addEventListener("click", close);
    document.addEventListener("click", (event) => {
      if (!input.form.contains(event.target)) close();
    });
  }

  /* Copying of code -------------------------------------------------------- */

  // Leaves out the lines that show output.
  function codeOf(block) {
    return block.querySelector("code, pre").textContent.replace(/^#>.*\n?/gm, "");
  }

  function addCopyButtons() {
    if (!navigator.clipboard) return;
    for (const block of document.querySelectorAll("div.sourceCode")) {
      const button = make("button", { type: "button", className: "btn btn-sm copy", textContent: "Copy" });
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(codeOf(block));
        button.textContent = "Copied";
        setTimeout(() => {
          button.textContent = "Copy";
        }, 2000);
      });
      block.prepend(button);
    }
  }

  addContents();
  addSearch();
  addCopyButtons();
})();
