"use strict";
const page = JSON.parse(document.getElementById("page").textContent);
const by = id => document.getElementById(id);
const asked = key => { const found = new RegExp(`[#&]${key}=([^&]*)`).exec(location.hash); return found && decodeURIComponent(found[1]); };
/* Names come from data: they are text, never markup. */
function made(tag, name, text) {
  const one = document.createElement(tag);
  if (name) one.className = name;
  if (text !== undefined && text !== null) one.textContent = text;
  return one;
}
function drawn(tag, values) {
  const one = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const key in values) one.setAttribute(key, values[key]);
  return one;
}
/* A picture, over it an svg in the pixels of the original; a sentence where there is none. */
function picture(uri, width, height, missing) {
  const frame = made("span", "frame");
  if (uri === null || uri === undefined) { frame.append(made("span", "empty", missing)); return [frame, null]; }
  const image = made("img"), over = drawn("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" });
  image.src = page.pictures[uri]; image.alt = "";
  frame.append(image, over);
  return [frame, over];
}
function rectangle([x1, y1, x2, y2], ink, more) {
  return drawn("rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1, fill: "none", stroke: ink, "stroke-width": 2.5, ...more });
}
const many = (n, one, more) => `${n} ${n === 1 ? one : more}`;
for (const note of page.notes) by("notes").append(made("p", "faint", note));
