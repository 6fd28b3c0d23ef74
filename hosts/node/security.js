// What `ssl.*` means to node's own TLS.
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { ConfigError } from './errors.js';

const VERSIONS = ['TLSv1.2', 'TLSv1.3'];

/** Node takes what holds no certificate, and then trusts nobody. */
function certificates(name, pem) {
  if (!String(pem).includes('-----BEGIN CERTIFICATE-----'))
    throw new ConfigError('INVALID_CONFIG', `${name}: no certificate in PEM`);
  return pem;
}

/** Options for `tls.connect`, or `null` if connections are not encrypted. `more` are the application's own, and go before. */
export function tlsOptions(options, more) {
  const protocol = String(options['security.protocol'] ?? 'PLAINTEXT').toUpperCase();
  if (!protocol.endsWith('SSL')) return null;
  const read = (name) => {
    try {
      return readFileSync(String(options[name]));
    } catch (error) {
      throw new ConfigError('INVALID_CONFIG', `${name}: ${error.code ?? 'can not be read'}`);
    }
  };
  const given = (name) => options[name] !== undefined && options[name] !== null;
  const made = {};
  if (given('ssl.truststore.certificates'))
    made.ca = certificates('ssl.truststore.certificates', options['ssl.truststore.certificates']);
  else if (given('ssl.truststore.location'))
    made.ca = certificates('ssl.truststore.location', read('ssl.truststore.location'));
  if (given('ssl.keystore.key')) {
    made.key = String(options['ssl.keystore.key']);
    made.cert = String(options['ssl.keystore.certificate.chain'] ?? '');
  } else if (given('ssl.keystore.location')) {
    made.key = made.cert = read('ssl.keystore.location');
  }
  if (given('ssl.key.password')) made.passphrase = String(options['ssl.key.password']);
  if (given('ssl.cipher.suites'))
    made.ciphers = String(options['ssl.cipher.suites'])
      .split(/\s*,\s*/)
      .join(':');
  const newest = String(options['ssl.protocol'] ?? 'TLSv1.3');
  const enabled = String(options['ssl.enabled.protocols'] ?? 'TLSv1.2,TLSv1.3').split(/\s*,\s*/);
  const spoken = VERSIONS.filter(
    (version) => enabled.includes(version) && !(version === 'TLSv1.3' && newest === 'TLSv1.2'),
  );
  if (spoken.length === 0) throw new ConfigError('INVALID_CONFIG', 'ssl.enabled.protocols: no version of TLS is left');
  made.minVersion = spoken[0];
  made.maxVersion = spoken[spoken.length - 1];
  if (options['ssl.endpoint.identification.algorithm'] === '') made.checkServerIdentity = () => undefined;
  const all = { ...made, ...more };
  try {
    return { secureContext: createSecureContext(all), ...all };
  } catch (error) {
    throw new ConfigError('INVALID_CONFIG', `ssl.*: ${error.code ?? 'node can make no TLS of it'}`); // its words may hold a key
  }
}
