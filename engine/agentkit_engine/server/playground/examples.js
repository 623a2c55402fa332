// Tools, a schema and requests to begin with. Knows nothing else.

const text = (more) => ({ type: "string", ...more });
const whole = (minimum, maximum) => ({ type: "integer", minimum, maximum });
const one = (...options) => ({ type: "string", enum: options });
const object = (required, properties) => ({
  type: "object", properties, required, additionalProperties: false,
});
const tool = (name, description, required, properties) => ({
  name, description, parameters: object(required, properties),
});

// Name -> what is offered (a list of tools, or a schema) and what may be asked of it.
export const examples = {
  Calendar: {
    offered: [
      tool("create_event", "Create an event.", ["title", "date"], {
        title: text(), date: text({ format: "date" }), time: text(),
      }),
      tool("cancel_meeting", "Cancel a meeting.", ["id"], { id: text() }),
      tool("list_tasks", "List the tasks.", ["status"], {
        status: one("open", "closed", "pending"), limit: whole(1, 50),
      }),
    ],
    requests: [
      "Create an event called garden party on 2026-12-05 at 18:30",
      "Cancel the meeting AB-1290",
      "List the tasks that are open, at most 5",
    ],
  },
  Weather: {
    offered: [
      tool("get_weather", "Get the weather.", ["city", "days"], {
        city: text(), days: whole(1, 14),
      }),
      tool("check_sensor", "Check a weather sensor.", ["id"], { id: text() }),
      tool("schedule_report", "Schedule a weather report.", ["email", "time"], {
        email: text({ format: "email" }), time: text(),
      }),
    ],
    requests: [
      "Schedule a report to ada@example.com at 07:30",
      "Get the weather in Lisbon for 5 days",
      "Sing me a song",
    ],
  },
  Home: {
    offered: [
      tool("set_light", "Set the light.", ["color"], {
        color: one("red", "green", "blue", "white"), level: whole(0, 100),
      }),
      tool("open_door", "Open a door.", ["name"], { name: text() }),
    ],
    requests: ["Set the light to blue at level 40", "Open the door called kitchen"],
  },
  Travel: {
    offered: [
      tool("find_flight", "Find a flight.", ["origin", "destination", "date"], {
        origin: text(), destination: text(), date: text({ format: "date" }),
      }),
      tool("book_table", "Book a table.", ["city", "people"], {
        city: text(), people: whole(1, 20),
      }),
    ],
    requests: [
      "Find a flight from Paris to Tokyo on 2027-03-14",
      "Book a table for 4 people in Lisbon",
    ],
  },
  Schema: {
    offered: object(["city", "people"], { city: text(), people: whole(1, 20) }),
    requests: ["Book a table for 4 people in Lisbon"],
  },
};
