// node tus.mjs ENDPOINT FILE CHUNK_BYTES: uploads the file with tus-js-client and prints its address.
import fs from "node:fs";
import * as tus from "tus-js-client";

const [endpoint, path, chunk] = process.argv.slice(2);
const upload = new tus.Upload(fs.createReadStream(path), {
  endpoint,
  uploadSize: fs.statSync(path).size,
  chunkSize: Number(chunk) || Infinity,
  retryDelays: Array(400).fill(20),
  metadata: { filename: "film.bin", filetype: "application/octet-stream" },
  onError(error) {
    console.error(String(error));
    process.exit(1);
  },
  onSuccess() {
    console.log(upload.url);
  },
});
upload.start();
