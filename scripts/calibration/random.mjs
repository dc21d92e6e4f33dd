// Seeded choices: the same seed gives the same corpus on every machine.

export class Random {
  #state;

  constructor(seed) {
    this.#state = BigInt.asUintN(64, BigInt(seed));
  }

  /** splitmix64: an integer from 0 to n - 1. */
  below(n) {
    this.#state = BigInt.asUintN(64, this.#state + 0x9e3779b97f4a7c15n);
    let z = this.#state;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return Number((z ^ (z >> 31n)) % BigInt(n));
  }

  /** undefined of an empty list. */
  pick(list) {
    return list.length === 0 ? undefined : list[this.below(list.length)];
  }

  chance(percent) {
    return this.below(100) < percent;
  }

  /** `n` different members, in their order. */
  some(list, n) {
    const left = [...list.keys()];
    while (left.length > n) left.splice(this.below(left.length), 1);
    return left.map((i) => list[i]);
  }
}
