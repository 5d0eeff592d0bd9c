// breakers.mjs: what a call through a circuit breaker of Node.js costs: for each a line
// "NAME NANOSECONDS", of CPU time of this process, the quickest of so many turns. The call itself is
// a function that answers at once, awaited as all of them do it; "none" awaits it without a breaker.
// All have a window of 10 s in 10 parts, open when half have failed, and no timer for each call.
import { handleAll, circuitBreaker, SamplingBreaker } from "cockatiel";
import CircuitBreaker from "opossum";

const TURNS = 15;
const CALLS = 20000;

const answer = async () => 1;

const opossum = new CircuitBreaker(answer, {
  timeout: false, errorThresholdPercentage: 50, resetTimeout: 5000, rollingCountTimeout: 10000,
  rollingCountBuckets: 10, volumeThreshold: 20,
});
const cockatiel = circuitBreaker(handleAll, {
  halfOpenAfter: 5000, breaker: new SamplingBreaker({ threshold: 0.5, duration: 10000 }),
});

const contestants = {
  none: answer,
  opossum: () => opossum.fire(),
  cockatiel: () => cockatiel.execute(answer),
};

const cpu = () => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

const best = {};
for (let turn = 0; turn < TURNS; turn++) {
  for (const [name, call] of Object.entries(contestants)) {
    const began = cpu();
    for (let i = 0; i < CALLS; i++) {
      if (await call() !== 1) throw new Error(`${name}: another answer`);
    }
    const ns = (cpu() - began) / CALLS * 1000;
    best[name] = Math.min(best[name] ?? Infinity, ns);
  }
}
for (const [name, ns] of Object.entries(best)) console.log(name, ns.toFixed(1));
opossum.shutdown();
