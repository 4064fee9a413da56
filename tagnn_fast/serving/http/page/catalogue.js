// What a model calls its items, and which it knows.

const AT_ONCE = 100;

export class Catalogue {
  #items = new Map(); // by id; null for one that the model does not know

  constructor(service, model) {
    Object.assign(this, { service, model });
  }

  /** Remember items that were met anyway. */
  remember(items) {
    for (const item of items) this.#items.set(item.id, item);
  }

  /** Ask for those of the ids that were not met yet. */
  async learn(ids, signal) {
    const wanted = [...new Set(ids)].filter((id) => !this.#items.has(id));
    for (let begin = 0; begin < wanted.length; begin += AT_ONCE) {
      const some = wanted.slice(begin, begin + AT_ONCE);
      const found = await this.service.named(some, this.model, signal);
      for (const id of some) this.#items.set(id, null);
      this.remember(found);
    }
  }

  title(id) {
    return this.#items.get(id)?.title ?? null;
  }

  isUnknown(id) {
    return this.#items.get(id) === null;
  }
}
