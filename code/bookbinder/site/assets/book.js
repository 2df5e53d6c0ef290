/* Theme, menu, copy buttons, contents marker and search; the page reads without any of it. */
(function () {
  "use strict";
  const root = document.documentElement;
  const all = (selector, from) => Array.from((from || document).querySelectorAll(selector));

  const isDark = () =>
    root.dataset.theme
      ? root.dataset.theme === "dark"
      : window.matchMedia("(prefers-color-scheme: dark)").matches;
  all("button.theme").forEach((button) =>
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try {
        localStorage.setItem("theme", root.dataset.theme);
      } catch (error) {
        /* private mode */
      }
    }),
  );

  const menu = document.querySelector("button.menu"),
    sidebar = document.getElementById("sidebar");
  menu.addEventListener("click", () => {
    const open = sidebar.classList.toggle("open");
    menu.setAttribute("aria-expanded", String(open));
  });
  const current = sidebar.querySelector("[aria-current]");
  if (current && current.offsetTop > sidebar.clientHeight)
    sidebar.scrollTop = current.offsetTop - 120;

  // A link into a closed box opens it.
  const reveal = () => {
    const goal = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const box = goal && goal.closest("details:not([open])");
    if (!box) return;
    box.open = true;
    goal.scrollIntoView();
  };
  window.addEventListener("hashchange", reveal);
  reveal();

  all(".listing").forEach((listing) => {
    const button = document.createElement("button");
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", () => {
      const text = listing.querySelector("pre").innerText;
      const done = () => {
        button.textContent = "Copied";
        setTimeout(() => {
          button.textContent = "Copy";
        }, 1500);
      };
      if (navigator.clipboard) {
        navigator.clipboard.writeText(text).then(done);
        return;
      }
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      done();
    });
    listing.append(button);
  });

  const links = all(".contents a");
  if (links.length && "IntersectionObserver" in window) {
    const byId = new Map(links.map((link) => [decodeURIComponent(link.hash.slice(1)), link]));
    const watcher = new IntersectionObserver(
      (entries) => {
        const seen = entries.find((entry) => entry.isIntersecting);
        if (!seen) return;
        links.forEach((link) => link.classList.remove("here"));
        byId.get(seen.target.id).classList.add("here");
      },
      { rootMargin: "0px 0px -70% 0px" },
    );
    byId.forEach((_, id) => {
      const head = document.getElementById(id);
      if (head) watcher.observe(head);
    });
  }

  const dialog = document.querySelector("dialog.search");
  const input = dialog.querySelector("input"),
    hits = dialog.querySelector(".hits");
  let engine = null;
  const prepare = () => {
    if (engine || !window.MiniSearch || !window.bookIndex) return;
    engine = new window.MiniSearch({
      fields: ["title", "chapter", "text"],
      storeFields: ["href", "title", "chapter", "text"],
      searchOptions: {
        boost: { title: 3, chapter: 2 },
        prefix: true,
        fuzzy: 0.15,
        combineWith: "AND",
        boostDocument: (id) => window.bookIndex[id].weight,
      },
    });
    engine.addAll(window.bookIndex);
  };
  const excerpt = (text, terms) => {
    const lower = text.toLowerCase();
    const at = Math.max(
      0,
      ...terms
        .map((term) => lower.indexOf(term.toLowerCase()))
        .filter((i) => i >= 0)
        .slice(0, 1),
    );
    return (at > 60 ? "… " : "") + text.slice(Math.max(0, at - 60), at + 140) + " …";
  };
  // "batchnorm" is looked for as "batch norm" where nobody wrote it in one word.
  const search = (text) => {
    const found = engine.search(text);
    const cuts = Array.from(text.trim())
      .slice(3, -2)
      .map((_, i) => i + 3);
    return cuts.reduce(
      (hits, at) =>
        hits.length
          ? hits
          : engine.search(text.trim().slice(0, at) + " " + text.trim().slice(at), { fuzzy: false }),
      found,
    );
  };
  const find = () => {
    prepare();
    hits.replaceChildren();
    if (!engine || !input.value.trim()) return;
    const found = search(input.value).slice(0, 12);
    found.forEach((hit) => {
      const item = document.createElement("li"),
        link = document.createElement("a");
      const title = document.createElement("b"),
        small = document.createElement("small");
      title.textContent = hit.title ? hit.chapter + " › " + hit.title : hit.chapter;
      small.textContent = excerpt(hit.text, hit.terms);
      link.href = window.bookRoot + hit.href;
      link.addEventListener("click", () => dialog.close());
      link.append(title, small);
      item.append(link);
      hits.append(item);
    });
    if (!found.length) {
      const none = document.createElement("li");
      none.textContent = "Nothing found.";
      hits.append(none);
    }
  };
  const open = () => {
    dialog.showModal();
    input.focus();
    input.select();
  };
  all(".open-search").forEach((button) => button.addEventListener("click", open));
  input.addEventListener("input", find);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      const first = hits.querySelector("a");
      if (first) first.click();
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = /INPUT|TEXTAREA|SELECT/.test(document.activeElement.tagName);
    if (event.key === "/" && !typing) {
      event.preventDefault();
      open();
    }
  });
})();
