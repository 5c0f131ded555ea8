// Sorts and filters the ledger. Without this script the table is whole and readable as it is.
(() => {
  const root = document.getElementById("ledger-table");
  const body = root.querySelector("tbody");
  const rows = [...body.rows];
  const words = (list) => [...new Set(list)];

  const controls = document.createElement("div");
  controls.className = "ledger-controls";
  const add = (label, element) => {
    const box = document.createElement("label");
    box.append(label, element);
    controls.append(box);
    element.addEventListener("input", filter);
    return element;
  };
  const choice = (all, values) => {
    const select = document.createElement("select");
    [all, ...values].forEach((text, i) => select.add(new Option(text, i ? text : "")));
    return select;
  };
  const search = add("Find ", Object.assign(document.createElement("input"), { type: "search" }));
  const part = add("Part ", choice("all parts", words(rows.map((row) => row.dataset.part))));
  const inOrder = [...rows].sort((a, b) => a.dataset.order - b.dataset.order);
  const word = add("Verdict ", choice("all verdicts", words(inOrder.map((row) => row.dataset.word))));
  const count = document.createElement("output");
  count.setAttribute("aria-live", "polite");
  controls.append(count);
  root.prepend(controls);

  function filter() {
    const wanted = search.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const fits = (!part.value || row.dataset.part === part.value)
        && (!word.value || row.dataset.word === word.value)
        && row.textContent.toLowerCase().includes(wanted);
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length} rows`;
  }

  // What a row sorts by in a column; rows without a value stay at the end in both directions.
  const value = (row, column, key) => {
    if (key === "verdict") return Number(row.dataset.order);
    const cell = row.cells[column];
    if (cell.classList.contains("none")) return null;
    return cell.dataset.sort === undefined ? cell.textContent.trim().toLowerCase() : Number(cell.dataset.sort);
  };
  const sort = (head, column) => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const keyed = rows.map((row) => [value(row, column, head.dataset.key), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      const order = typeof a === "number" ? a - b : a.localeCompare(b);
      return up ? order : -order;
    });
    body.append(...keyed.map(([, row]) => row));
  };
  [...root.querySelectorAll("thead th")].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(head, column));
  });
  filter();
})();
