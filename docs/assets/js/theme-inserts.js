// Repairs what the theme's own script inserts, which no template can reach: navigation
// landmarks without a name, around copy buttons and around the tags of search results, and
// boxes that scroll but take no focus.

function setFocusable(box) {
  if (box.scrollWidth > box.clientWidth) {
    box.tabIndex = 0;
  } else {
    box.removeAttribute("tabindex");
  }
}

const resizes = new ResizeObserver((entries) => {
  for (const { target } of entries) setFocusable(target);
});

function repair() {
  const nameless = "nav:is(.md-code__nav, .md-tags):not([role])";
  for (const nav of document.querySelectorAll(nameless)) {
    nav.setAttribute("role", "presentation");
  }
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap:not([role])")) {
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", "Table");
    resizes.observe(box);
  }
}

new MutationObserver(repair).observe(document.body, { childList: true, subtree: true });
repair();
