// Picture files, pasted pictures and camera frames in the form of the base. Nothing but the small copy leaves the page.

export const isPicture = (file) => /^image\/(png|jpeg|webp|gif|bmp|avif)$/.test(file.type);

// A data: URL of at most twice the base's own size (at least 96 pixels), dark paper where the base knows only that.
export async function pictureOf(source, image) {
  let bitmap;
  try {
    bitmap = source instanceof Blob ? await createImageBitmap(source, { imageOrientation: "from-image" }) : source;
  } catch {
    throw new Error(`${source.name || "That file"} cannot be read as a picture. Use a PNG, JPEG or WebP file.`);
  }
  const width = bitmap.videoWidth ?? bitmap.width;
  const height = bitmap.videoHeight ?? bitmap.height;
  if (!width || !height) throw new Error("The camera has no picture yet. Try again in a second.");
  const square = source instanceof HTMLVideoElement;
  const side = Math.min(width, height);
  const [sx, sy, sw, sh] = square ? [(width - side) / 2, (height - side) / 2, side, side] : [0, 0, width, height];
  const scale = Math.min(1, Math.max(96, 2 * image.size) / Math.max(sw, sh));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(sw * scale));
  canvas.height = Math.max(1, Math.round(sh * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, sx, sy, sw, sh, 0, 0, canvas.width, canvas.height);
  if (image.ink) turn(context, canvas, image.ink);
  return image.size > 64 ? canvas.toDataURL("image/jpeg", 0.92) : canvas.toDataURL("image/png");
}

// Where the paper of a picture is as bright as the ink that the base knows, the picture is turned to its negative.
function turn(context, canvas, ink) {
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const { width, height } = canvas;
  let sum = 0;
  let count = 0;
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += y === 0 || y === height - 1 ? 1 : Math.max(width - 1, 1)) {
      const at = 4 * (y * width + x);
      sum += pixels.data[at] + pixels.data[at + 1] + pixels.data[at + 2];
      count += 3;
    }
  }
  const paper = sum / count / 255;
  if (ink === "bright" ? paper < 0.55 : paper > 0.45) return;
  for (let at = 0; at < pixels.data.length; at += 4) {
    for (let channel = 0; channel < 3; channel += 1) pixels.data[at + channel] = 255 - pixels.data[at + channel];
  }
  context.putImageData(pixels, 0, 0);
}

export class Camera {
  constructor() {
    this.video = document.createElement("video");
    this.video.muted = true;
    this.video.playsInline = true;
    this.video.setAttribute("aria-label", "What the camera sees");
    this.stream = null;
  }

  async start() {
    if (!navigator.mediaDevices) throw new Error("The browser gives the camera only to pages on this machine or over https.");
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
    } catch (cause) {
      const why = { NotAllowedError: "The browser was not allowed to use it; allow it in the address bar.", NotFoundError: "None was found." };
      throw new Error(`The camera cannot be used. ${why[cause.name] ?? cause.message}`);
    }
    this.video.srcObject = this.stream;
    await this.video.play();
  }

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.video.srcObject = null;
  }
}
