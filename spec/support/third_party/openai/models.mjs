// Models by their names: given.ids.
import { given, make, outcome, tell } from "./sdk.mjs";

const ends = [];
for (const id of given.ids) ends.push(await outcome(() => make().models.retrieve(id)));
tell(ends);
