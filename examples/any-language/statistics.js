// Reads the input `numbers`, writes the output `sum` and a metric for each prefix.
const fs = require("fs");
const { WINDLASS_INPUTS, WINDLASS_OUT, WINDLASS_METRICS } = process.env;

const numbers = JSON.parse(fs.readFileSync(`${WINDLASS_INPUTS}/numbers.json`, "utf8"));
let sum = 0;
numbers.forEach((number, step) => {
  sum += number;
  fs.appendFileSync(WINDLASS_METRICS, JSON.stringify({ name: "sum", value: sum, step }) + "\n");
});
fs.appendFileSync(WINDLASS_OUT, `sum=${sum}\n`);
console.log(`the sum is ${sum}`);
