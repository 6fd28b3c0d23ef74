// Runs a program for WASI preview 1 with the variables that it is given.
import { readFileSync } from 'node:fs';
import { argv, env, exit } from 'node:process';
import { WASI } from 'node:wasi';

const wasi = new WASI({ version: 'preview1', args: argv.slice(2), env, preopens: {}, returnOnExit: true });
const module = await WebAssembly.compile(readFileSync(argv[2]));
exit(wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject())) ?? 0);
