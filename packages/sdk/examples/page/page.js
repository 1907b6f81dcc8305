// The element pairs, and comes back after a reload; what it finds is asked here.
import "couplet/element";

const form = document.querySelector("form");
let host = null;

document.addEventListener("couplet-paired", ({ detail }) => {
  host = detail.host;
  form.hidden = false;
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const output = form.querySelector("output");
  try {
    const answer = await host.fetch(form.querySelector("input").value);
    output.value = `${answer.status}\n${await answer.text()}`;
  } catch (error) {
    output.value = `${error.code ?? ""} ${error.message}\n${error.next ?? ""}`;
  }
});
