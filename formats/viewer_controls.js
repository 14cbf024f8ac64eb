// The camera in the user's hands, and the page's start. A view is a rotation (world to camera, row by row), a position
// and the distance of the point that it turns about.

const canvas = document.getElementById("view"), note = document.getElementById("note");
const scene = JSON.parse(document.getElementById("cameras").textContent);
let view, draw, chosen = 0, asked = false;

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const apply = (m, v) => [0, 3, 6].map((row) => dot(m.slice(row, row + 3), v));
const applyTransposed = (m, v) => [0, 1, 2].map((k) => m[k] * v[0] + m[k + 3] * v[1] + m[k + 6] * v[2]);
const times = (a, b) => [0, 3, 6].flatMap((row) => applyTransposed(b, a.slice(row, row + 3)));
const along = (origin, direction, distance) => origin.map((value, k) => value + distance * direction[k]);

function turn(axis, angle) {  // Rodrigues' formula
  const [x, y, z] = axis, c = Math.cos(angle), s = Math.sin(angle), t = 1 - c;
  return [t * x * x + c, t * x * y - s * z, t * x * z + s * y, t * x * y + s * z, t * y * y + c, t * y * z - s * x,
    t * x * z - s * y, t * y * z + s * x, t * z * z + c];
}

function show(number) {
  chosen = (number + scene.cameras.length) % scene.cameras.length;
  const camera = scene.cameras[chosen];
  view = { ...camera, rotation: camera.rotation.slice(), position: camera.position.slice() };
  redraw();
}

function lensInPixels() {  // all of the photograph's picture fits into the window
  const [fx, fy, cx, cy] = view.lens;
  const scale = Math.min(canvas.width / view.width, canvas.height / view.height);
  return [scale * fx, scale * fy, canvas.width / 2 + scale * (cx - view.width / 2), canvas.height / 2 + scale * (cy - view.height / 2)];
}

function redraw() {
  if (asked || !draw) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    canvas.width = Math.round(window.innerWidth * window.devicePixelRatio);
    canvas.height = Math.round(window.innerHeight * window.devicePixelRatio);
    draw(view.rotation, view.position, lensInPixels());
  });
}

function orbit(dx, dy) {
  const forward = view.rotation.slice(6), focus = along(view.position, forward, view.distance);
  const steepness = dot(forward, scene.up), angle = 0.005 * dy;
  const held = Math.abs(steepness) > 0.99 && Math.sign(steepness) !== Math.sign(angle);
  const about = turn(scene.up, 0.005 * dx), over = turn([1, 0, 0], held ? 0 : angle);
  view.rotation = times(over, times(view.rotation, about));
  view.position = along(focus, view.rotation.slice(6), -view.distance);
  redraw();
}

function pan(dx, dy) {
  const [fx, fy] = lensInPixels().map((value) => value / window.devicePixelRatio);
  view.position = along(view.position, applyTransposed(view.rotation, [dx / fx, dy / fy, 0]), -view.distance);
  redraw();
}

function zoom(factor) {
  const distance = view.distance * factor;
  view.position = along(view.position, view.rotation.slice(6), view.distance - distance);
  view.distance = distance;
  redraw();
}

const pointers = new Map();
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
});
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => pointers.delete(event.pointerId));
canvas.addEventListener("pointermove", (event) => {
  const last = pointers.get(event.pointerId);
  if (!last) return;
  const dx = event.clientX - last[0], dy = event.clientY - last[1];
  const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
  if (other) {
    const gap = (point) => Math.max(1, Math.hypot(point[0] - other[0], point[1] - other[1]));
    zoom(gap(last) / gap([event.clientX, event.clientY]));
    pan(dx / 2, dy / 2);
  } else if (event.buttons & 6 || event.shiftKey) pan(dx, dy);
  else orbit(dx, dy);
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
});
canvas.addEventListener("contextmenu", (event) => event.preventDefault());
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(0.001 * event.deltaY * (event.deltaMode === 1 ? 20 : 1)));
}, { passive: false });
window.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1, r: 0, R: 0 }[event.key];
  if (step !== undefined && draw) show(step ? chosen + step : 0);
});
window.addEventListener("resize", redraw);

async function start() {
  const gl = canvas.getContext("webgl2", { alpha: false, antialias: false });
  if (!gl) throw new Error("this browser offers no WebGL 2");
  if (!window.DecompressionStream) throw new Error("this browser is too old to unpack gzip");
  canvas.addEventListener("webglcontextlost", () => { note.textContent = "The graphics processor was lost; load the page again."; });
  const model = unpackModel(await gunzip(bytesOf(document.getElementById("model").textContent)));
  draw = makeRenderer(gl, model, scene.background);
  note.textContent = "";
  if (location.hash === "#plain") document.getElementById("help").textContent = "";
  show(0);
}

start().catch((problem) => { note.textContent = `The model cannot be shown: ${problem.message}`; });
