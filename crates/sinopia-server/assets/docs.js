// Shows the OpenAPI document. Everything is put in as text, never as markup.
"use strict";

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

// A type in a few words, with links to the named ones.
function typeOf(schema) {
  if (!schema) return element("span", "anything");
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    const link = element("a", name);
    link.href = `#type-${name}`;
    return link;
  }
  const choices = schema.oneOf ?? schema.anyOf ?? schema.allOf;
  if (choices) {
    const made = element("span");
    choices.forEach((choice, index) => made.append(index ? " or " : "", typeOf(choice)));
    return made;
  }
  if (schema.enum) return element("span", schema.enum.map((value) => JSON.stringify(value)).join(", "));
  const name = [schema.type ?? "anything"].flat().join(" or ");
  if (!schema.items) return element("span", name);
  return element("span", "list of ", typeOf(schema.items));
}

function table(head, rows) {
  const body = element("tbody", "", ...rows.map((cells) => element("tr", "", ...cells.map((cell) => element("td", "", cell)))));
  return element("table", "", element("thead", "", element("tr", "", ...head.map((text) => element("th", text)))), body);
}

function content(of) {
  return Object.entries(of?.content ?? {}).map(([media, { schema }]) => element("p", `${media}: `, typeOf(schema)));
}

function route(path, method, operation) {
  const title = element("summary", "", element("span", method.toUpperCase()), element("code", path), ` ${operation.summary ?? ""}`);
  title.firstChild.className = "method";
  const made = element("details", "", title);
  if (operation.description) made.append(element("p", operation.description));
  const parameters = (operation.parameters ?? []).map((one) => [element("code", one.name), typeOf(one.schema), one.description ?? ""]);
  if (parameters.length) made.append(element("h4", "Parameters"), table(["Name", "Type", ""], parameters));
  if (operation.requestBody) made.append(element("h4", "Body"), ...content(operation.requestBody));
  made.append(element("h4", "Answers"));
  for (const [status, answer] of Object.entries(operation.responses)) {
    made.append(element("p", `${status} ${answer.description ?? ""}`), ...content(answer));
  }
  return made;
}

function type(name, schema) {
  const made = element("details", "", element("summary", "", element("code", name), ` ${schema.description ?? ""}`));
  made.id = `type-${name}`;
  const required = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties ?? {}).map(([field, of]) => [
    element("code", field + (required.has(field) ? "" : "?")), typeOf(of), of.description ?? "",
  ]);
  made.append(rows.length ? table(["Field", "Type", ""], rows) : element("p", "", typeOf(schema)));
  return made;
}

function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
  }
}

async function show() {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const api = await answer.json();
  document.getElementById("about").textContent = api.info.description;
  const routes = document.getElementById("routes");
  routes.replaceChildren();
  for (const tag of api.tags) {
    routes.append(element("h2", tag.name), element("p", tag.description));
    for (const [path, operations] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(operations)) {
        if (operation.tags?.includes(tag.name)) routes.append(route(path, method, operation));
      }
    }
  }
  const types = document.getElementById("types");
  for (const [name, schema] of Object.entries(api.components.schemas)) types.append(type(name, schema));
  window.addEventListener("hashchange", openTarget);
  openTarget();
}

show().catch((error) => {
  document.getElementById("routes").textContent = `The document cannot be shown: ${error.message}`;
});
