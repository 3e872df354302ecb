// The student: a query becomes a vector as in leaf_st.export.encoder. The graph pools, projects and normalises.

import { settled } from "./files.js";

export class Encoder {
  // settings: the manifest's part "student".
  static async open(files, runtime, settings, onBytes) {
    const [ort, wasm, { Tokenizer }, graph, tokenizer, config] = await settled([
      files.module(runtime.onnxruntime, onBytes),
      files.bytes(runtime.wasm, onBytes),
      files.module(runtime.tokenizers, onBytes),
      files.bytes(settings.graph, onBytes),
      files.bytes(settings.tokenizer, onBytes),
      files.bytes(settings.tokenizer_config, onBytes),
    ]);
    const encoder = new Encoder();
    encoder.ort = ort;
    encoder.settings = settings;
    encoder.tokenizer = new Tokenizer(...[tokenizer, config].map((file) => JSON.parse(new TextDecoder().decode(file))));
    // The library implements a part of the tokenizer's format, and gives other tokens where it ignores a setting.
    const isOther = ([text, ids]) => encoder.tokens(text).join() !== ids.join();
    encoder.others = settings.tokenized.filter(isOther).map(([text]) => text);
    // More threads need headers that a file server does not send.
    Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary: wasm });
    ort.env.logLevel = "error";
    encoder.session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"], logSeverityLevel: 3 });
    await encoder.encode("a"); // the first run reserves memory
    return encoder;
  }

  // Returns the vector of a query, or null if the tokenizer finds no token in it.
  async encode(query) {
    const ids = this.tokens(query);
    if (ids.length === 0) return null;
    const shape = [1, ids.length];
    const { Tensor } = this.ort;
    const inputs = {
      input_ids: new Tensor("int64", BigInt64Array.from(ids, BigInt), shape),
      attention_mask: new Tensor("int64", new BigInt64Array(ids.length).fill(1n), shape),
    };
    const { sentence_embedding: vector } = await this.session.run(inputs, ["sentence_embedding"]);
    return vector.data;
  }

  // Returns the tokens that the student reads: of a long query the first ones, and the closing special tokens.
  tokens(query) {
    const { prompt, max_length: most, closing } = this.settings;
    const { ids } = this.tokenizer.encode(prompt + query);
    if (most === null || ids.length <= most) return ids;
    return [...ids.slice(0, most - closing), ...ids.slice(ids.length - closing)];
  }
}
