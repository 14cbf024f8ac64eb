// The model: an SPZ file (version 3) becomes words for the graphics processor. Layout of a Gaussian, 32 bits each:
// x y z (float), red green blue opacity (bytes), rotation (smallest three), log scales (bytes), SH (bytes).

const HIGHER_COEFFICIENTS = [0, 3, 8, 15];

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function gunzip(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function unpackModel(bytes) {
  const header = new DataView(bytes.buffer);
  const count = header.getUint32(8, true);
  const degree = bytes[12], unit = 2 ** -bytes[13];
  const harmonics = 3 * HIGHER_COEFFICIENTS[degree];
  const texels = Math.ceil((6 + Math.ceil(harmonics / 4)) / 4);
  const positions = new Float32Array(3 * count);
  const words = new Uint32Array(4 * texels * count);
  const floats = new Float32Array(words.buffer), octets = new Uint8Array(words.buffer);
  const opacity = 16 + 9 * count, colour = opacity + count, scale = colour + 3 * count;
  const rotation = scale + 3 * count, rest = rotation + 4 * count;
  for (let n = 0; n < count; n++) {
    const word = 4 * texels * n, octet = 4 * word;
    for (let k = 0; k < 3; k++) {
      const at = 16 + 9 * n + 3 * k;
      const fixed = (bytes[at] << 8 | bytes[at + 1] << 16 | bytes[at + 2] << 24) >> 8;
      positions[3 * n + k] = floats[word + k] = fixed * unit;
      octets[octet + 12 + k] = bytes[colour + 3 * n + k];
      octets[octet + 20 + k] = bytes[scale + 3 * n + k];
    }
    octets[octet + 15] = bytes[opacity + n];
    for (let k = 0; k < 4; k++) octets[octet + 16 + k] = bytes[rotation + 4 * n + k];
    for (let k = 0; k < harmonics; k++) octets[octet + 24 + k] = bytes[rest + harmonics * n + k];
  }
  return { count, degree, texels, positions, words, antialiased: (bytes[14] & 1) === 1 };
}
