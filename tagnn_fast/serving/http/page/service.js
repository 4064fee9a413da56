// What the service is asked over HTTP. Ids are texts here, whatever they are in the model: integers of 64 bits included.

/** What to tell a person of a request that was not answered. */
export class ServiceError extends Error {
  constructor(words, status = 0) {
    super(words);
    this.status = status;
  }
}

const WORDS = {
  401: "This service asks for a token.",
  413: "This is more than the service takes at once.",
  503: "The service is busy, or about to stop. Try again in a moment.",
  504: "The service took too long to answer. Try again.",
};

export class Service {
  constructor(base) {
    this.base = base;
    this.token = "";
  }

  async models(signal) {
    return (await this.#ask("v1/models", { signal })).models;
  }

  /** Items found by a text, best first; the most clicked ones for an empty text. */
  async find(text, model, limit, signal) {
    return described(await this.#ask(`v1/items?${new URLSearchParams({ q: text, model, limit })}`, { signal }));
  }

  /** Those of the ids that the model knows, at most 100 of them. */
  async named(ids, model, signal) {
    const query = new URLSearchParams([["model", model], ...ids.map((id) => ["id", id])]);
    return described(await this.#ask(`v1/items?${query}`, { signal }));
  }

  async recommend(session, model, k, signal) {
    const answer = await this.#post("v1/recommend", { session, model, k }, signal);
    return { ...answer, items: answer.items.map(String) };
  }

  /** For each item, the weight of each click. */
  async explain(session, items, model, signal) {
    return (await this.#post("v1/explain", { session, items, model }, signal)).weights;
  }

  #post(path, body, signal) {
    const headers = { "Content-Type": "application/json" };
    return this.#ask(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  }

  async #ask(path, options) {
    const headers = this.token ? { ...options.headers, Authorization: `Bearer ${this.token}` } : options.headers;
    let response, text;
    try {
      response = await fetch(new URL(path, this.base), { ...options, headers, cache: "no-store" });
      text = await response.text();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServiceError("The service does not answer. Is it still running?");
    }
    const answer = parsed(text);
    if (!response.ok) {
      const reason = answer?.error?.message ?? `status ${response.status}`;
      throw new ServiceError(WORDS[response.status] ?? `The service could not answer: ${reason}`, response.status);
    }
    if (answer === null) throw new ServiceError("The service answered with something that this page cannot read.");
    return answer;
  }
}

function described(answer) {
  return answer.items.map((item) => ({ ...item, id: String(item.id) }));
}

const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const rounded = (token) => /^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token));

/** JSON, with integers that a number would round as texts; null for anything else. */
function parsed(text) {
  try {
    return JSON.parse(text.replace(STRING_OR_NUMBER, (token) => (rounded(token) ? `"${token}"` : token)));
  } catch {
    return null;
  }
}
