import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Array;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Struct;
import java.sql.Time;
import java.sql.Timestamp;
import java.util.Arrays;
import java.util.Base64;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Lets another process call JDBC: one JSON object a line in, one a line out, matched by "id".
 *
 * <p>{"id", "do": "connect", "url", "properties"}: a handle. {"id", "do": "call", "on": handle,
 * "method", "arguments"}: what the method returned, objects of JDBC as handles. {"id", "do": "read",
 * "on": a ResultSet, "rows": most}: labels and rows. {"id", "do": "getters", "on"}: what every
 * public method without parameters whose name matches "names" returned or threw. {"id", "do": "is",
 * "on", "type"}. {"id", "do": "free", "on"}. With "aside" true the request runs on a thread of its own.
 */
public final class Bridge {
  private static final Gson GSON =
      new GsonBuilder().serializeNulls().serializeSpecialFloatingPointValues().create();
  private static final Map<Long, Object> OBJECTS = new ConcurrentHashMap<>();
  private static final AtomicLong NEXT = new AtomicLong();
  private static final PrintStream OUT =
      new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);

  private Bridge() {}

  /** Answers requests until the end of input. */
  public static void main(String[] arguments) throws Exception {
    System.setOut(System.err); // what a library prints must not get among the answers
    BufferedReader in =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      JsonObject request = GSON.fromJson(line, JsonObject.class);
      if (request.has("aside")) {
        Thread thread = new Thread(() -> answer(request));
        thread.setDaemon(true);
        thread.start();
      } else {
        answer(request);
      }
    }
    System.exit(0); // threads of the driver must not keep us
  }

  private static void answer(JsonObject request) {
    JsonObject answer = new JsonObject();
    answer.add("id", request.get("id"));
    try {
      answer.add("result", perform(request));
    } catch (Throwable error) {
      answer.add("error", described(error));
    }
    synchronized (OUT) {
      OUT.println(GSON.toJson(answer));
      OUT.flush();
    }
  }

  private static JsonElement perform(JsonObject request) throws Throwable {
    String verb = request.get("do").getAsString();
    if (verb.equals("connect")) {
      Properties properties = new Properties();
      JsonObject given = request.getAsJsonObject("properties");
      given.entrySet().forEach(e -> properties.setProperty(e.getKey(), e.getValue().getAsString()));
      return encode(DriverManager.getConnection(request.get("url").getAsString(), properties));
    }
    long handle = request.get("on").getAsLong();
    Object target = OBJECTS.get(handle);
    switch (verb) {
      case "call":
        return encode(call(target, request));
      case "read":
        return read((ResultSet) target, request.get("rows").getAsLong());
      case "getters":
        return getters(target, request.get("names").getAsString());
      case "is":
        return new JsonPrimitive(Class.forName(request.get("type").getAsString()).isInstance(target));
      case "free":
        OBJECTS.remove(handle);
        return JsonNull.INSTANCE;
      default:
        throw new IllegalArgumentException(verb);
    }
  }

  private static Object call(Object target, JsonObject request) throws Throwable {
    String name = request.get("method").getAsString();
    JsonArray given = request.getAsJsonArray("arguments");
    for (Method method : methods(target)) {
      if (!method.getName().equals(name) || method.getParameterCount() != given.size()) {
        continue;
      }
      Object[] values = new Object[given.size()];
      boolean fits = true;
      for (int i = 0; i < values.length && fits; i++) {
        Class<?> kind = method.getParameterTypes()[i];
        fits = fits(given.get(i), kind);
        values[i] = fits ? decode(given.get(i), kind) : null;
      }
      if (fits) {
        return invoke(method, target, values);
      }
    }
    throw new NoSuchMethodException(name + given);
  }

  private static Object invoke(Method method, Object target, Object... values) throws Throwable {
    try {
      return method.invoke(target, values);
    } catch (InvocationTargetException error) {
      throw error.getCause();
    }
  }

  /** The methods of the java.sql interfaces that an object has, in an order that never varies. */
  private static Method[] methods(Object target) {
    TreeMap<String, Method> found = new TreeMap<>();
    for (Class<?> kind = target.getClass(); kind != null; kind = kind.getSuperclass()) {
      collect(kind, found);
    }
    return found.values().toArray(new Method[0]);
  }

  private static void collect(Class<?> kind, Map<String, Method> found) {
    for (Class<?> shape : kind.getInterfaces()) {
      collect(shape, found);
      if (shape.getName().startsWith("java.sql.")) {
        for (Method method : shape.getMethods()) {
          if (!Modifier.isStatic(method.getModifiers())) {
            found.put(method.getName() + Arrays.toString(method.getParameterTypes()), method);
          }
        }
      }
    }
  }

  private static boolean fits(JsonElement value, Class<?> kind) {
    if (value.isJsonNull()) {
      return !kind.isPrimitive();
    }
    if (value.isJsonArray()) {
      return kind == String[].class || kind == int[].class;
    }
    if (value.isJsonObject()) {
      return value.getAsJsonObject().has("handle")
          ? kind.isInstance(OBJECTS.get(value.getAsJsonObject().get("handle").getAsLong()))
          : named(value).equals(kind.getSimpleName()) || kind == Object.class;
    }
    JsonPrimitive plain = value.getAsJsonPrimitive();
    if (plain.isBoolean()) {
      return kind == boolean.class || kind == Boolean.class;
    }
    return plain.isString() ? kind == String.class : kind == int.class || kind == long.class;
  }

  private static String named(JsonElement value) {
    return value.getAsJsonObject().get("type").getAsString();
  }

  private static Object decode(JsonElement value, Class<?> kind)
      throws ClassNotFoundException {
    if (value.isJsonNull()) {
      return null;
    }
    if (value.isJsonArray()) {
      return GSON.fromJson(value, kind);
    }
    if (!value.isJsonObject()) {
      JsonPrimitive plain = value.getAsJsonPrimitive();
      if (plain.isNumber()) {
        return kind == int.class ? (Object) plain.getAsInt() : (Object) plain.getAsLong();
      }
      return plain.isBoolean() ? (Object) plain.getAsBoolean() : plain.getAsString();
    }
    JsonObject object = value.getAsJsonObject();
    if (object.has("handle")) {
      return OBJECTS.get(object.get("handle").getAsLong());
    }
    return typed(named(object), object.get("text").getAsString());
  }

  private static Object typed(String type, String text) throws ClassNotFoundException {
    switch (type) {
      case "boolean":
      case "Boolean":
        return Boolean.valueOf(text);
      case "byte":
      case "Byte":
        return Byte.valueOf(text);
      case "short":
      case "Short":
        return Short.valueOf(text);
      case "int":
      case "Integer":
        return Integer.valueOf(text);
      case "long":
      case "Long":
        return Long.valueOf(text);
      case "float":
      case "Float":
        return Float.valueOf(text);
      case "double":
      case "Double":
        return Double.valueOf(text);
      case "BigDecimal":
        return new BigDecimal(text);
      case "Date":
        return Date.valueOf(text);
      case "Time":
        return Time.valueOf(text);
      case "Timestamp":
        return Timestamp.valueOf(text);
      case "byte[]":
        return Base64.getDecoder().decode(text);
      case "String":
        return text;
      case "Class":
        return Class.forName(text);
      default:
        throw new IllegalArgumentException(type);
    }
  }

  private static JsonElement read(ResultSet rows, long most) throws SQLException {
    ResultSetMetaData shape = rows.getMetaData();
    int width = shape.getColumnCount();
    JsonArray labels = new JsonArray();
    for (int i = 1; i <= width; i++) {
      labels.add(shape.getColumnLabel(i));
    }
    JsonArray all = new JsonArray();
    while (all.size() < most && rows.next()) {
      JsonArray row = new JsonArray();
      for (int i = 1; i <= width; i++) {
        row.add(encode(rows.getObject(i)));
      }
      all.add(row);
    }
    JsonObject answer = new JsonObject();
    answer.add("labels", labels);
    answer.add("rows", all);
    return answer;
  }

  private static JsonElement getters(Object target, String names) {
    JsonObject answer = new JsonObject();
    for (Method method : methods(target)) {
      if (method.getParameterCount() == 0 && method.getName().matches(names)) {
        JsonObject found = new JsonObject();
        try {
          found.add("value", encode(invoke(method, target)));
        } catch (Throwable error) {
          found.add("error", described(error));
        }
        answer.add(method.getName(), found);
      }
    }
    return answer;
  }

  private static JsonElement encode(Object value) throws SQLException {
    if (value == null) {
      return JsonNull.INSTANCE;
    }
    if (value instanceof String) {
      return new JsonPrimitive((String) value);
    }
    if (value instanceof Boolean) {
      return new JsonPrimitive((Boolean) value);
    }
    JsonObject object = new JsonObject();
    if (value instanceof byte[]) {
      object.addProperty("type", "byte[]");
      object.addProperty("text", Base64.getEncoder().encodeToString((byte[]) value));
    } else if (value instanceof Struct) {
      object.addProperty("type", "Struct");
      object.add("items", items(((Struct) value).getAttributes()));
    } else if (value instanceof java.sql.Array) {
      object.addProperty("type", "Array");
      object.add("items", items(((java.sql.Array) value).getArray()));
    } else if (value.getClass().isArray()) {
      object.addProperty("type", value.getClass().getComponentType().getSimpleName() + "[]");
      object.add("items", items(value));
    } else if (value instanceof Iterable) {
      object.addProperty("type", "List");
      JsonArray found = new JsonArray();
      for (Object item : (Iterable<?>) value) {
        found.add(encode(item));
      }
      object.add("items", found);
    } else if (value instanceof Map) {
      object.addProperty("type", "Map");
      JsonArray found = new JsonArray();
      for (Map.Entry<?, ?> entry : ((Map<?, ?>) value).entrySet()) {
        JsonArray pair = new JsonArray();
        pair.add(encode(entry.getKey()));
        pair.add(encode(entry.getValue()));
        found.add(pair);
      }
      object.add("items", found);
    } else if (isHandled(value)) {
      long handle = NEXT.incrementAndGet();
      OBJECTS.put(handle, value);
      object.addProperty("handle", handle);
    } else {
      object.addProperty("type", value.getClass().getSimpleName());
      object.addProperty("text", value.toString());
    }
    return object;
  }

  /** Whether an object is one of JDBC's that stay here, and not a value. */
  private static boolean isHandled(Object value) {
    return value instanceof java.sql.Wrapper;
  }

  private static JsonArray items(Object array) throws SQLException {
    JsonArray found = new JsonArray();
    for (int i = 0; i < Array.getLength(array); i++) {
      found.add(encode(Array.get(array, i)));
    }
    return found;
  }

  private static JsonObject described(Throwable error) {
    JsonObject answer = new JsonObject();
    answer.addProperty("type", error.getClass().getName());
    answer.addProperty("message", String.valueOf(error.getMessage()));
    if (error instanceof SQLException) {
      answer.addProperty("state", ((SQLException) error).getSQLState());
      answer.addProperty("code", ((SQLException) error).getErrorCode());
    }
    StringBuilder causes = new StringBuilder();
    for (Throwable cause = error.getCause(); cause != null; cause = cause.getCause()) {
      causes.append(cause).append("\n");
    }
    answer.addProperty("causes", causes.toString());
    return answer;
  }
}
