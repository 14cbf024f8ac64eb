// The renderer: each Gaussian is a rectangle round its ellipse, drawn from the farthest to the nearest. Constants and
// limits are those of gaussian_renderer.

const NEAR = 0.2;
const TEXTURE_WIDTH = 2048;

const VERTEX_SHADER = `#version 300 es
precision highp float;
precision highp int;
precision highp usampler2D;

uniform usampler2D splats;
uniform int texels, degree;
uniform bool antialiased;
uniform mat3 rotation;  // world to camera: x right, y down, z forward
uniform vec3 position;  // of the camera
uniform vec4 lens;      // focal lengths and principal point, pixels
uniform vec2 size;      // of the picture, pixels
in uint index;
out vec2 deviations;    // from the Gaussian's centre, along its axes
out vec4 colour;

uvec4 texel[5];

float octet(int i) { return float(texel[i >> 4][(i >> 2) & 3] >> (8 * (i & 3)) & 255u); }

vec3 coefficient(int k) {
  int i = 24 + 3 * (k - 1);
  return (vec3(octet(i), octet(i + 1), octet(i + 2)) - 128.0) / 128.0;
}

vec3 radiance(vec3 d) {
  vec3 octets = vec3(octet(12), octet(13), octet(14));
  vec3 c = 0.5 + 0.28209479177387814 / 0.15 * (octets / 255.0 - 0.5);
  float x = d.x, y = d.y, z = d.z;
  if (degree >= 1)
    c += 0.4886025119029199 * (z * coefficient(2) - y * coefficient(1) - x * coefficient(3));
  if (degree >= 2)
    c += 1.0925484305920792 * (x * y * coefficient(4) - y * z * coefficient(5) - x * z * coefficient(7))
      + 0.31539156525252005 * (3.0 * z * z - 1.0) * coefficient(6)
      + 0.5462742152960396 * (x * x - y * y) * coefficient(8);
  if (degree >= 3)
    c += -0.5900435899266435 * (y * (3.0 * x * x - y * y) * coefficient(9) + x * (x * x - 3.0 * y * y) * coefficient(15))
      + 2.890611442640554 * x * y * z * coefficient(10)
      - 0.4570457994644658 * (5.0 * z * z - 1.0) * (y * coefficient(11) + x * coefficient(13))
      + 0.3731763325901154 * z * (5.0 * z * z - 3.0) * coefficient(12)
      + 1.445305721320277 * z * (x * x - y * y) * coefficient(14);
  return max(c, 0.0);
}

float component(uint word, int shift) {
  uint field = word >> shift;
  float magnitude = float(field & 511u) * (0.7071067811865476 / 511.0);
  return (field & 512u) == 0u ? magnitude : -magnitude;
}

mat3 axes(uint word) {  // columns: the Gaussian's axes in the world
  vec3 o = vec3(component(word, 20), component(word, 10), component(word, 0));
  float largest = sqrt(max(0.0, 1.0 - dot(o, o)));
  uint which = word >> 30;
  vec4 q = which == 0u ? vec4(largest, o) : which == 1u ? vec4(o.x, largest, o.yz)
    : which == 2u ? vec4(o.xy, largest, o.z) : vec4(o, largest);
  float x = q.x, y = q.y, z = q.z, w = q.w;
  return mat3(
    1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
    2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
    2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y));
}

void main() {
  gl_Position = vec4(0.0, 0.0, 2.0, 1.0);  // not drawn
  int first = int(index) * texels;
  for (int k = 0; k < texels; k++)
    texel[k] = texelFetch(splats, ivec2((first + k) % ${TEXTURE_WIDTH}, (first + k) / ${TEXTURE_WIDTH}), 0);
  vec3 mean = uintBitsToFloat(texel[0].xyz);
  vec3 p = rotation * (mean - position);
  if (p.z < ${NEAR}) return;

  mat3 shape = rotation * axes(texel[1].x);
  for (int k = 0; k < 3; k++) shape[k] *= exp(octet(20 + k) / 16.0 - 10.0);
  vec2 low = -lens.zw / lens.xy - 0.15 * size / lens.xy, high = (size - lens.zw) / lens.xy + 0.15 * size / lens.xy;
  vec2 slope = clamp(p.xy / p.z, low, high);
  vec3 across = vec3(lens.x, 0.0, -lens.x * slope.x) / p.z * shape;
  vec3 down = vec3(0.0, lens.y, -lens.y * slope.y) / p.z * shape;
  float xx = dot(across, across), xy = dot(across, down), yy = dot(down, down);
  float sharp = xx * yy - xy * xy;
  xx += 0.3;
  yy += 0.3;
  float opacity = octet(15) / 255.0;
  if (antialiased) opacity *= sqrt(max(0.0, sharp / (xx * yy - xy * xy)));
  if (opacity < 1.0 / 255.0) return;

  float middle = 0.5 * (xx + yy), spread = length(vec2(0.5 * (xx - yy), xy));
  vec2 axis = spread < 1e-6 * middle ? vec2(1.0, 0.0)
    : xx > yy ? normalize(vec2(0.5 * (xx - yy) + spread, xy)) : normalize(vec2(xy, 0.5 * (yy - xx) + spread));
  float reach = sqrt(2.0 * log(255.0 * opacity));
  deviations = reach * (2.0 * vec2(gl_VertexID & 1, gl_VertexID >> 1) - 1.0);
  vec2 offset = deviations.x * sqrt(middle + spread) * axis
    + deviations.y * sqrt(max(middle - spread, 0.0)) * vec2(-axis.y, axis.x);
  vec2 pixel = lens.xy * p.xy / p.z + lens.zw + offset;
  gl_Position = vec4(2.0 * pixel.x / size.x - 1.0, 1.0 - 2.0 * pixel.y / size.y, 0.0, 1.0);
  colour = vec4(radiance(normalize(mean - position)), opacity);
}`;

const FRAGMENT_SHADER = `#version 300 es
precision highp float;
in vec2 deviations;
in vec4 colour;
out vec4 result;

void main() {
  float alpha = min(0.999, colour.a * exp(-0.5 * dot(deviations, deviations)));
  if (alpha < 1.0 / 255.0) discard;
  result = vec4(alpha * colour.rgb, alpha);
}`;

function compile(gl) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX_SHADER], [gl.FRAGMENT_SHADER, FRAGMENT_SHADER]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  return program;
}

// Indices of the Gaussians before the camera, the farthest first: two passes of a counting sort over the bits of the
// depth, which are in the order of the depth for positive floats.
class DepthOrder {
  constructor(positions) {
    const count = positions.length / 3;
    this.positions = positions;
    this.depths = new Float32Array(count);
    this.bits = new Uint32Array(this.depths.buffer);
    this.passes = [new Uint32Array(count), new Uint32Array(count)];
    this.starts = new Uint32Array(1 << 16);
  }

  update(rotation, position) {
    const [, , , , , , x, y, z] = rotation, { positions, depths } = this;
    const zero = x * position[0] + y * position[1] + z * position[2];
    let [from, to] = this.passes, count = 0;
    for (let n = 0; n < depths.length; n++) {
      depths[n] = x * positions[3 * n] + y * positions[3 * n + 1] + z * positions[3 * n + 2] - zero;
      if (depths[n] >= NEAR) from[count++] = n;
    }
    for (const shift of [0, 16]) {
      this.sort(from, to, count, shift);
      [from, to] = [to, from];
    }
    return from.subarray(0, count);
  }

  sort(from, to, count, shift) {
    const { bits, starts } = this;
    starts.fill(0);
    for (let i = 0; i < count; i++) starts[0xffff - (bits[from[i]] >>> shift & 0xffff)]++;
    let start = 0;
    for (let key = 0; key < starts.length; key++) {
      const size = starts[key];
      starts[key] = start;
      start += size;
    }
    for (let i = 0; i < count; i++) to[starts[0xffff - (bits[from[i]] >>> shift & 0xffff)]++] = from[i];
  }
}

function makeRenderer(gl, model, background) {
  const program = compile(gl), order = new DepthOrder(model.positions);
  const place = (name) => gl.getUniformLocation(program, name);
  const height = Math.ceil(model.count * model.texels / TEXTURE_WIDTH);
  if (height > gl.getParameter(gl.MAX_TEXTURE_SIZE)) throw new Error(`${model.count} Gaussians are more than this graphics processor takes`);
  const words = new Uint32Array(4 * TEXTURE_WIDTH * height);
  words.set(model.words);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32UI, TEXTURE_WIDTH, height, 0, gl.RGBA_INTEGER, gl.UNSIGNED_INT, words);

  gl.bindVertexArray(gl.createVertexArray());
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  const index = gl.getAttribLocation(program, "index");
  gl.enableVertexAttribArray(index);
  gl.vertexAttribIPointer(index, 1, gl.UNSIGNED_INT, 0, 0);
  gl.vertexAttribDivisor(index, 1);

  gl.useProgram(program);
  gl.uniform1i(place("texels"), model.texels);
  gl.uniform1i(place("degree"), model.degree);
  gl.uniform1i(place("antialiased"), model.antialiased);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  gl.clearColor(...background, 1);

  // rotation: 9 numbers, row by row, world to camera; lens: focal lengths and principal point in pixels.
  return function draw(rotation, position, lens) {
    const { width, height } = gl.canvas, drawn = order.update(rotation, position);
    gl.viewport(0, 0, width, height);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniformMatrix3fv(place("rotation"), true, rotation);
    gl.uniform3fv(place("position"), position);
    gl.uniform4fv(place("lens"), lens);
    gl.uniform2f(place("size"), width, height);
    gl.bufferData(gl.ARRAY_BUFFER, drawn, gl.DYNAMIC_DRAW);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, drawn.length);
  };
}
