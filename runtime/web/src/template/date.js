// Dates as Python writes them.

import { refuse } from './value.js';

/**
 * `strftime` of a moment, in UTC.
 * @param {string} format
 * @param {Date} date
 * @returns {string}
 */
export function strftime(format, date) {
  /** @type {(value: number, digits?: number) => string} */
  const digits = (value, digits = 2) => String(value).padStart(digits, '0');
  /** @param {Intl.DateTimeFormatOptions} options */
  const name = (options) => date.toLocaleString('en-US', { ...options, timeZone: 'UTC' });
  const [year, month, hour] = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCHours()];
  const [day, minute, second] = [date.getUTCDate(), date.getUTCMinutes(), date.getUTCSeconds()];
  return format.replace(/%([^]?)/gu, (_, directive) => {
    switch (directive) {
      case 'Y': return String(year);
      case 'y': return digits(year % 100);
      case 'm': return digits(month + 1);
      case 'd': return digits(day);
      case 'j': return digits((Date.UTC(year, month, day) - Date.UTC(year, 0, 1)) / 86_400_000 + 1, 3);
      case 'H': return digits(hour);
      case 'I': return digits(hour % 12 || 12);
      case 'p': return hour < 12 ? 'AM' : 'PM';
      case 'M': return digits(minute);
      case 'S': return digits(second);
      case 'B': return name({ month: 'long' });
      case 'b': return name({ month: 'short' });
      case 'A': return name({ weekday: 'long' });
      case 'a': return name({ weekday: 'short' });
      case 'F': return `${year}-${digits(month + 1)}-${digits(day)}`;
      case 'T': return `${digits(hour)}:${digits(minute)}:${digits(second)}`;
      case '%': return '%';
    }
    return refuse(`strftime_now does not know \`%${directive}\``);
  });
}
